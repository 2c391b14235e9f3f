package count

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

const (
	tracefs = "/sys/kernel/tracing"
	// group is where this package's events are in tracefs.
	group = "kube_ipvs_bench"
)

// event is something that the kernel counts.
type event struct {
	name   string
	system string   // the tracepoint's; "" for kprobes of our own
	at     []symbol // of kprobes: each of them counts
	fetch  string   // what the kprobe reads, for the filter
	filter string
	into   func(*result.Usage) *uint64
}

// symbol is a function of a module; "" is the kernel itself.
type symbol struct {
	module, function string
	// maybe: some kernels have it, and some do the same in another function of the event.
	maybe bool
}

// events are what is counted beside CPU time, with the functions of Linux 6.1 and 6.12. All of them handle requests of the current process.
//
// A dump of IPVS's is asked once for each buffer that it fills, so only the first counts, in which the callback's args[0] is 0: it
// is at 80 in struct netlink_callback. Requests that dump something of nftables go through nf_tables_get… too.
//
// A table of iptables is replaced by setsockopt with IPT_SO_SET_REPLACE or IP6T_SO_SET_REPLACE, which are 64. What replaces it then is
// part of that function in some kernels.
//
// One message that adds elements to a set of nftables, or entries to an ipset, may bring many. A transaction of nftables that waits for
// a module to be loaded is replayed, and counts again.
func events() []event {
	ipvs := in("ip_vs")
	return []event{
		{name: "sys_enter", system: "raw_syscalls", into: func(u *result.Usage) *uint64 { return &u.Syscalls }},
		{name: "sched_process_exec", system: "sched", into: func(u *result.Usage) *uint64 { return &u.Execs }},
		{
			name: "ipvs_writes", at: ipvs("ip_vs_genl_set_cmd", "do_ip_vs_set_ctl"),
			into: func(u *result.Usage) *uint64 { return &u.IPVSWrites },
		},
		{
			name: "ipvs_reads", at: ipvs("ip_vs_genl_get_cmd", "do_ip_vs_get_ctl"),
			into: func(u *result.Usage) *uint64 { return &u.IPVSReads },
		},
		{
			name: "ipvs_dumps", at: ipvs("ip_vs_genl_dump_services", "ip_vs_genl_dump_dests", "ip_vs_genl_dump_daemons"),
			fetch: "first=+80($arg2):u64", filter: "first==0",
			into: func(u *result.Usage) *uint64 { return &u.IPVSReads },
		},
		{
			name: "nft_writes", at: in("nf_tables")(
				"nf_tables_newtable", "nf_tables_newchain", "nf_tables_newrule", "nf_tables_newset", "nf_tables_newsetelem",
				"nf_tables_newobj", "nf_tables_newflowtable", "nf_tables_deltable", "nf_tables_delchain", "nf_tables_delrule",
				"nf_tables_delset", "nf_tables_delsetelem", "nf_tables_delobj", "nf_tables_delflowtable"),
			into: func(u *result.Usage) *uint64 { return &u.NftWrites },
		},
		{name: "nft_commits", at: in("nf_tables")("nf_tables_commit"), into: func(u *result.Usage) *uint64 { return &u.NftCommits }},
		{
			name: "nft_reads", at: append(in("nf_tables")(
				"nf_tables_gettable", "nf_tables_getchain", "nf_tables_getrule", "nf_tables_getset", "nf_tables_getsetelem",
				"nf_tables_getobj", "nf_tables_getflowtable", "nf_tables_getgen"),
				symbol{"nf_tables", "nf_tables_getobj_reset", true},
				symbol{"nf_tables", "nf_tables_getrule_reset", true},
				symbol{"nf_tables", "nf_tables_getsetelem_reset", true}),
			into: func(u *result.Usage) *uint64 { return &u.NftReads },
		},
		{
			name: "ipset_writes", at: in("ip_set")(
				"ip_set_create", "ip_set_destroy", "ip_set_flush", "ip_set_rename", "ip_set_swap", "ip_set_uadd", "ip_set_udel"),
			into: func(u *result.Usage) *uint64 { return &u.IpsetWrites },
		},
		{
			name: "netlink_sends", at: in("")("netlink_sendmsg"),
			into: func(u *result.Usage) *uint64 { return &u.NetlinkSends },
		},
		{
			name: "iptables_writes", at: append(in("ip_tables")("do_ipt_set_ctl"), in("ip6_tables")("do_ip6t_set_ctl")...),
			fetch: "option=$arg2:s32", filter: "option==64",
			into: func(u *result.Usage) *uint64 { return &u.IptablesWrites },
		},
	}
}

func in(module string) func(functions ...string) []symbol {
	return func(functions ...string) []symbol {
		symbols := make([]symbol, len(functions))
		for i, f := range functions {
			symbols[i] = symbol{module: module, function: f}
		}
		return symbols
	}
}

// String is the symbol as tracefs wants it.
func (s symbol) String() string {
	if s.module == "" {
		return s.function
	}
	return s.module + ":" + s.function
}

// probe is the line of kprobe_events that makes the event count at a symbol.
func (e event) probe(s symbol) string {
	return strings.TrimSpace(fmt.Sprintf("p:%s/%s %s %s", group, e.name, s, e.fetch))
}

// prepareEvents makes the kernel have all events, as far as it has not yet.
func prepareEvents() ([]event, error) {
	list := filepath.Join(tracefs, "kprobe_events")
	if _, err := os.Stat(list); errors.Is(err, fs.ErrNotExist) {
		if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil {
			return nil, fmt.Errorf("mount tracefs: %w", err)
		}
	}
	have, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("list kprobes: %w", err)
	}
	all := events()
	for _, e := range all {
		for _, s := range e.missing(string(have)) {
			err := e.add(s, list)
			if s.maybe && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("probe %s: %w", s, err)
			}
		}
	}
	return all, nil
}

// missing are the symbols at which the kernel, by its list of kprobes, does not count yet.
func (e event) missing(list string) []symbol {
	have := map[string]bool{}
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 {
			have[f[0]+" "+f[1]] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(e.at), func(s symbol) bool { return have["p:"+group+"/"+e.name+" "+s.String()] })
}

// add makes a kprobe. The kernel takes one in a module that is not there, in case it comes, and counts nothing: therefore it is loaded first.
func (e event) add(s symbol, list string) error {
	if s.module != "" {
		if err := load(s.module); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(list, os.O_WRONLY|os.O_APPEND, 0) // without O_APPEND there is O_TRUNC, which removes all probes
	if err != nil {
		return err
	}
	_, err = f.WriteString(e.probe(s) + "\n")
	return errors.Join(err, f.Close())
}

// id is the event's number among the kernel's tracepoints.
func (e event) id() (uint64, error) {
	system := e.system
	if system == "" {
		system = group
	}
	b, err := os.ReadFile(filepath.Join(tracefs, "events", system, e.name, "id"))
	if err != nil {
		return 0, fmt.Errorf("find event %s: %w", e.name, err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("find event %s: %w", e.name, err)
	}
	return id, nil
}
