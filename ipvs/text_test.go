package ipvs_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// everything has each word of the text form, in canonical order.
const everything = `tcp://10.1.0.10:443 wlc persistent 10800s /24
  10.244.1.2:8443 masq weight 65535
tcp://10.1.0.10:30080 sh fallback port sched-3
  10.244.1.2:8080 masq weight 1
  10.244.1.2:8081 masq weight 0
  10.244.2.7:8080 masq weight 10 upper 100 lower 50
udp://10.1.0.10:30080 rr one-packet sched-1 sched-2 sched-3
sctp://10.1.0.10:30080 mh port
  10.244.1.2:30080 route weight 1
  10.244.1.3:30080 tunnel weight 1 upper 7
  10.244.1.4:9 local weight 1
udp://[fd01::10]:30053 rr persistent 1s
  [fd02::2]:53 masq weight 1
`

func TestTextIsReadAndPrintedAlike(t *testing.T) {
	table := mustParse(t, everything)
	if diff := cmp.Diff(everything, table.String()); diff != "" {
		t.Errorf("printed text (-want +got):\n%s", diff)
	}
}

func TestTextIsReadInAnyOrderAndIndentation(t *testing.T) {
	got := mustParse(t, `
		# The later one first.
		tcp://10.1.0.20:80 rr
			10.244.1.3:8080   masq weight 1
			10.244.1.2:8080 masq weight 1 lower 2 upper 3

		TCP://10.1.0.10:80 rr`)
	want := `tcp://10.1.0.10:80 rr
tcp://10.1.0.20:80 rr
  10.244.1.2:8080 masq weight 1 upper 3 lower 2
  10.244.1.3:8080 masq weight 1
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTextErrorsNameLineAndReason(t *testing.T) {
	const vs = "tcp://10.1.0.10:80 rr\n"
	for name, test := range map[string]struct{ text, want string }{
		"unknown protocol":        {"icmp://10.1.0.10:80 rr", `line 1: frontend "icmp://10.1.0.10:80": unknown protocol "icmp"`},
		"no port":                 {"tcp://10.1.0.10 rr", "line 1: frontend"},
		"port 0":                  {"tcp://10.1.0.10:0 rr", "line 1: port 0"},
		"no scheduler":            {"tcp://10.1.0.10:80", "line 1: tcp://10.1.0.10:80: no scheduler"},
		"impossible scheduler":    {"tcp://10.1.0.10:80 RR", `line 1: tcp://10.1.0.10:80: "RR" is not the name of a scheduler`},
		"unknown flag":            {"tcp://10.1.0.10:80 rr fallback", `unknown flag "fallback" of scheduler "rr"`},
		"flag twice":              {"udp://10.1.0.10:80 rr one-packet one-packet", "one-packet stands there twice"},
		"one-packet without UDP":  {"tcp://10.1.0.10:80 rr one-packet", "one-packet scheduling is for UDP"},
		"persistent alone":        {"tcp://10.1.0.10:80 rr persistent", "persistent needs a timeout"},
		"timeout without unit":    {"tcp://10.1.0.10:80 rr persistent 5", `timeout "5" is no number of seconds`},
		"timeout 0":               {"tcp://10.1.0.10:80 rr persistent 0s", "persistence without a timeout"},
		"timeout above 31 days":   {"tcp://10.1.0.10:80 rr persistent 2678401s", "above 2678400s"},
		"prefix 0":                {"tcp://10.1.0.10:80 rr persistent 5s /0", `prefix "/0" is no prefix length`},
		"prefix of whole address": {"tcp://10.1.0.10:80 rr persistent 5s /32", "not shorter than the address"},
		"virtual server twice":    {vs + vs, "line 2: tcp://10.1.0.10:80: a second virtual server"},
		"real server first":       {"10.244.1.2:80 masq weight 1", "line 1: real server 10.244.1.2:80 has no virtual server before it"},
		"real server twice":       {vs + strings.Repeat("10.244.1.2:80 masq weight 1\n", 2), "line 3: tcp://10.1.0.10:80: a second real server"},
		"not an address":          {vs + "pod-1 masq weight 1", "line 2: neither a frontend nor the address of a real server"},
		"no weight":               {vs + "10.244.1.2:80 masq", "want FORWARDING weight NUMBER"},
		"unknown forwarding":      {vs + "10.244.1.2:80 nat weight 1", `unknown forwarding method "nat"`},
		"weight above 65535":      {vs + "10.244.1.2:80 masq weight 65536", "weight 65536 is above 65535"},
		"weight not a number":     {vs + "10.244.1.2:80 masq weight -1", `weight "-1": invalid syntax`},
		"threshold alone":         {vs + "10.244.1.2:80 masq weight 1 upper", "upper needs one number"},
		"weight twice":            {vs + "10.244.1.2:80 masq weight 1 weight 2", "weight needs one number"},
		"unknown word":            {vs + "10.244.1.2:80 masq weight 1 active 3", `unknown word "active"`},
		"other family":            {vs + "[fd02::2]:80 masq weight 1", "of the other address family"},
		"IPv4-mapped real server": {"tcp://[fd01::1]:80 rr\n[::ffff:10.244.1.2]:80 masq weight 1", "not in canonical form"},
		"broadcast":               {vs + "255.255.255.255:80 masq weight 1", "not the address of one reachable host"},
		"route to another port":   {vs + "10.244.1.2:8080 route weight 1", "route cannot change the port"},
		"thresholds reversed":     {vs + "10.244.1.2:80 masq weight 1 upper 1 lower 2", "lower threshold 2 and upper threshold 1"},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := ipvs.ParseTable(test.text)
			if err == nil {
				t.Fatalf("read without an error:\n%s", table)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("error is\n\t%v\nwant it to contain\n\t%s", err, test.want)
			}
		})
	}
}

func TestOperationIsOneReadableLine(t *testing.T) {
	plan := ipvs.Diff(mustParse(t, `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 1
		udp://10.1.0.10:80 rr`), mustParse(t, `
		tcp://10.1.0.10:80 sh port
			10.244.1.3:80 masq weight 1`))
	want := `set-virtual tcp://10.1.0.10:80 sh port
add-real tcp://10.1.0.10:80 10.244.1.3:80 masq weight 1
delete-real tcp://10.1.0.10:80 10.244.1.2:80
delete-virtual udp://10.1.0.10:80
`
	if diff := cmp.Diff(want, plan.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	failed := &ipvs.OpError{Op: plan[1], Err: syscall.ENOMEM}
	if got, want := failed.Error(), "ipvs: "+plan[1].String()+": cannot allocate memory"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextShowsWhatIsUnknown(t *testing.T) {
	key := frontend.Key{Addr: ours().addrs[0], Protocol: 1}
	got := ipvs.Table{key: {VirtualServer: ipvs.VirtualServer{Scheduler: "rr", Flags: 0x48}}}.String()
	if want := "proto-1://10.1.0.10:0 rr sched-1 flags-0x40\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (ipvs.RealServer{Forwarding: 9}).String(), "forwarding-9 weight 0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPropertyTextComesBackAsTheSameTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable().Draw(t, "table")
		back, err := ipvs.ParseTable(table.String())
		if err != nil {
			t.Fatalf("%v in\n%s", err, table)
		}
		wantTable(t, "read back", back, table)
	})
}

func FuzzParseTable(f *testing.F) {
	f.Add(everything)
	f.Add("tcp://10.1.0.10:80 rr persistent 5s /")
	f.Add("10.244.1.2:80 masq weight")
	f.Add("tcp://[fe80::1%eth0]:80 rr\n[fe80::2%eth0]:80 masq weight 1")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := ipvs.ParseTable(text)
		if err != nil {
			return
		}
		if err := table.Validate(); err != nil {
			t.Fatalf("read an invalid table: %v", err)
		}
		wantTable(t, "read back", mustParse(t, table.String()), table)
	})
}
