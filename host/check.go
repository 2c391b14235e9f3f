package host

import (
	"context"
	"fmt"
	"strings"
)

// Status says how bad an Item is.
type Status uint8

// The statuses, from good to bad.
const (
	OK   Status = iota + 1
	Warn        // the agent works, but not as somebody may expect
	Fail        // the agent cannot work
)

// String is ok, warning or FAILED.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Warn:
		return "warning"
	case Fail:
		return "FAILED"
	}
	return fmt.Sprintf("status-%d", uint8(s))
}

// Item is one line of the preflight, for people: what was looked at, what is there, and what to do about it.
type Item struct {
	Name   string
	Status Status
	Detail string
	// Mend is what to type or to change. It is empty if nothing is to be done.
	Mend string
}

// Worst is the worst status of the items; OK if there are none.
func Worst(items []Item) Status {
	worst := OK
	for _, i := range items {
		worst = max(worst, i.Status)
	}
	return worst
}

// CheckKernel judges the release of the kernel (uname -r).
func CheckKernel(release string) Item {
	i := Item{Name: "kernel", Status: OK, Detail: release}
	if _, _, ok := parseRelease(release); !ok {
		i.Status, i.Detail = Warn, fmt.Sprintf("release %q cannot be read", release)
		return i
	}
	if before59(release) {
		i.Status = Warn
		i.Detail += ": before 5.9 the reuse of a client's port is not looked at (net.ipv4.vs.conn_reuse_mode=0), or costs a second"
		i.Mend = "use a kernel from 5.9 on"
	}
	return i
}

// CheckIPVS reports whether the kernel's IPVS table can be read. Probe reads it.
func CheckIPVS(ctx context.Context, probe func(context.Context) error) Item {
	err := probe(ctx)
	if err == nil {
		return Item{Name: "IPVS", Status: OK, Detail: "the table can be read"}
	}
	return Item{
		Name: "IPVS", Status: Fail, Detail: err.Error(),
		Mend: "on the node: modprobe ip_vs && echo ip_vs > /etc/modules-load.d/kube-ipvs.conf" +
			" (if there is no such module, the kernel was built without CONFIG_IP_VS)",
	}
}

// CheckSchedulers reports on the scheduler that serves by default, and on the others that Services may choose. Probe
// asks the kernel for one; a scheduler that it does not have is not an error.
func CheckSchedulers(ctx context.Context, byDefault string, others []string,
	probe func(ctx context.Context, name string) (bool, error),
) []Item {
	first := Item{Name: "scheduler " + byDefault, Status: OK, Detail: "the kernel has it"}
	present, err := probe(ctx, byDefault)
	switch {
	case err != nil:
		first.Status, first.Detail = Fail, err.Error()
	case !present:
		first.Status, first.Detail = Fail, "the kernel does not have it, and it is the default (--ipvs-scheduler)"
		first.Mend = fmt.Sprintf("on the node: modprobe ip_vs_%s; or choose another with --ipvs-scheduler", byDefault)
	}
	rest := Item{Name: "other schedulers", Status: OK}
	var have, lack, unknown []string
	for _, name := range others {
		if name == byDefault {
			continue
		}
		switch present, err := probe(ctx, name); {
		case err != nil:
			unknown = append(unknown, fmt.Sprintf("%s: %v", name, err))
		case present:
			have = append(have, name)
		default:
			lack = append(lack, name)
		}
	}
	rest.Detail = "there: " + listOr(have, "none")
	if len(lack) > 0 {
		// Normal: the kernel's list has grown over time, and no distribution builds all of it.
		rest.Detail += "; not in this kernel: " + strings.Join(lack, " ")
	}
	if len(unknown) > 0 {
		rest.Status = Warn
		rest.Detail += "; not known: " + strings.Join(unknown, ", ")
	}
	return []Item{first, rest}
}

func listOr(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, " ")
}
