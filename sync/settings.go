package sync

import (
	"slices"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Setting is something that the author of a Service chose beyond what Kubernetes knows, for people and scripts.
type Setting struct {
	// Name is where it is written: the annotation, or the field.
	Name string
	// Written is its text there.
	Written string
	// InForce is what counts by it, in canonical form; "" if nothing does.
	InForce string
	// Why says what keeps it, or a part of it, from being in force; "" if nothing does.
	Why string
	// Scheduler is the scheduler that the setting chooses, if it does that: on a node without it another one is in force.
	Scheduler string
}

// SchedulerFlags change how the schedulers sh and mh choose. They wait for their scheduler: those of another one than
// is in force do nothing.
type SchedulerFlags uint8

// Port makes the choice depend on the client's port too. NoFallback refuses a client whose real server takes no new
// connection, where another one would be chosen otherwise.
const (
	SHPort SchedulerFlags = 1 << iota
	SHNoFallback
	MHPort
	MHNoFallback
)

// String lists the flags, fallbacks included, separated by commas.
func (f SchedulerFlags) String() string {
	var set []string
	for _, s := range []struct {
		name             string
		port, noFallback SchedulerFlags
	}{{"sh", SHPort, SHNoFallback}, {"mh", MHPort, MHNoFallback}} {
		if f&s.noFallback != 0 {
			set = append(set, s.name+"-no-fallback")
		} else if f&s.port != 0 {
			set = append(set, s.name+"-fallback")
		}
		if f&s.port != 0 {
			set = append(set, s.name+"-port")
		}
	}
	if len(set) == 0 {
		return "sh-fallback,mh-fallback"
	}
	return strings.Join(set, ",")
}

// of are the flags of a virtual server with the scheduler: linux/ip_vs.h gives both the same bits. Without fallback sh and
// mh refuse the clients whose hash meets a server of weight 0, which is what every departing endpoint is for a while.
func (f SchedulerFlags) of(scheduler string) ipvs.Flags {
	var port, noFallback SchedulerFlags
	switch scheduler {
	case "sh":
		port, noFallback = SHPort, SHNoFallback
	case "mh":
		port, noFallback = MHPort, MHNoFallback
	default:
		return 0
	}
	var flags ipvs.Flags
	if f&noFallback == 0 {
		flags |= ipvs.Sched1
	}
	if f&port != 0 {
		flags |= ipvs.Sched2
	}
	return flags
}

// forOthers reports that there are flags, and that all are for schedulers other than the given one.
func (f SchedulerFlags) forOthers(scheduler string) bool {
	switch scheduler {
	case "sh":
		return f != 0 && f&(SHPort|SHNoFallback) == 0
	case "mh":
		return f != 0 && f&(MHPort|MHNoFallback) == 0
	}
	return f != 0
}

// Limits are numbers of connections of one real server: it gets no further one once it has Upper, until it has fewer
// than Lower. 0 is no limit, and for Lower what the kernel takes: three quarters of Upper.
type Limits struct{ Upper, Lower uint32 }

// countsWeights reports whether a scheduler looks at weights above 0. The kernel's rr, lc and dh do not
// (net/netfilter/ipvs); of one that is not the kernel's own nobody knows.
func countsWeights(scheduler string) bool {
	return !slices.Contains([]string{"rr", "lc", "dh"}, scheduler)
}

// ramps reports whether raising a weight step by step makes sense: the scheduler weighs each new connection anew, and a
// change moves no client from its real server.
func ramps(scheduler string) bool {
	return slices.Contains([]string{"wrr", "wlc", "sed", "nq"}, scheduler)
}

// onePacket reports whether each datagram can be scheduled by itself, and if not, why. Measured on Linux 6.1: rr and wrr
// alone spread a sender with one source port, affinity keeps it together, and a masqueraded sender loses what goes to
// another device than its first datagram. So only endpoints of this node, whose clients are not masqueraded, get it, and
// no answer comes back as the node's.
func (p ServicePort) onePacket(scheduler string) (possible bool, why string) {
	switch {
	case p.Policy != Local:
		return false, "without externalTrafficPolicy: Local, since datagrams that are masqueraded get lost"
	case p.Affinity.Timeout > 0:
		return false, "with sessionAffinity: ClientIP"
	case scheduler != "rr" && scheduler != "wrr":
		return false, "with scheduler " + scheduler + ": choose rr or wrr"
	}
	return true, ""
}

// rampSteps is into how many steps a slow start is divided. Weights are multiplied by it, so that each step has one.
const rampSteps = 10

// MaxSlowStartWeight is the largest weight that leaves room for the steps of a slow start.
const MaxSlowStartWeight = ipvs.MaxWeight / rampSteps

// steps is the number by which the weights of a port are multiplied under a scheduler.
func (p ServicePort) steps(scheduler string) uint32 {
	if p.slowStart(scheduler) > 0 {
		return rampSteps
	}
	return 1
}

// slowStart is the time over which a new endpoint of the port gets its weight.
func (p ServicePort) slowStart(scheduler string) time.Duration {
	if ramps(scheduler) {
		return p.SlowStart
	}
	return 0
}
