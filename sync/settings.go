package sync

import (
	"slices"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
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
	// Aspect is set where the scheduler in force, or the rest of the port, may make nothing of the setting.
	Aspect Aspect
}

// Aspect is one of the choices that not every port has an effect of.
type Aspect uint8

// The aspects.
const (
	OfWeights Aspect = iota + 1
	OfFlags
	OfSlowStart
	OfOnePacket
)

// aspects lists them, in the order of the table of annotations.
func aspects() []Aspect { return []Aspect{OfWeights, OfFlags, OfSlowStart, OfOnePacket} }

// idle says of a choice that a port with a scheduler makes nothing of what it is, and why; nothing if it has an effect, or
// is not made.
func (p ServicePort) idle(a Aspect, scheduler string) (what, why string) {
	with := "with scheduler " + scheduler + ": "
	weighted := func(e Endpoint) bool { return e.Weight > 1 }
	switch possible, lacks := p.onePacket(scheduler); {
	case a == OfWeights && !countsWeights(scheduler) && slices.ContainsFunc(p.Endpoints, weighted):
		return "weights above 1 have", with + "choose one that counts weights, for example wrr or wlc"
	case a == OfFlags && p.SchedulerFlags.forOthers(scheduler):
		return "scheduler flags " + p.SchedulerFlags.names() + " have", with + "they are for sh and mh"
	case a == OfSlowStart && p.SlowStart > 0 && p.slowStart(scheduler) == 0:
		return "slow start has", with + "choose wrr, wlc, sed or nq"
	case a == OfOnePacket && p.OnePacket && p.Protocol == frontend.UDP && !possible:
		return "one-packet has", lacks
	}
	return "", ""
}

// under is the setting as it is in force for a Service whose ports have a scheduler.
func (s Setting) under(svc Service, scheduler string) Setting {
	if s.InForce == "" || len(svc.Ports) == 0 {
		return s
	}
	var what, why string
	for _, port := range svc.Ports {
		if what, why = port.idle(s.Aspect, scheduler); why != "" {
			break
		}
	}
	of := func(p ServicePort) bool { return p.OnePacket && p.Protocol == frontend.UDP }
	maintained := func(p ServicePort) bool {
		return slices.ContainsFunc(p.Endpoints, func(e Endpoint) bool { return e.Maintenance })
	}
	switch {
	case s.Aspect == OfFlags:
		if s.InForce = svc.Ports[0].SchedulerFlags.forScheduler(scheduler); s.InForce == "" {
			s.Why = "scheduler " + scheduler + " has no flags: they are for sh and mh"
		}
	case s.Aspect == OfOnePacket && svc.Ports[0].OnePacket && !slices.ContainsFunc(svc.Ports, of):
		s.InForce, s.Why = "", "it has no effect without a UDP port"
	case why != "":
		s.Why = strings.TrimPrefix(s.Why+"; "+what+" no effect "+why, "; ")
		if s.Aspect != OfWeights || !slices.ContainsFunc(svc.Ports, maintained) { // 0 counts with every scheduler
			s.InForce = ""
		}
	}
	return s
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
	if f&(SHPort|SHNoFallback) != 0 {
		set = append(set, f.forScheduler("sh"))
	}
	if f&(MHPort|MHNoFallback) != 0 {
		set = append(set, f.forScheduler("mh"))
	}
	if len(set) == 0 {
		return "sh-fallback,mh-fallback"
	}
	return strings.Join(set, ",")
}

// forScheduler lists those of a scheduler, the fallback included; "" for one without flags.
func (f SchedulerFlags) forScheduler(scheduler string) string {
	port, noFallback := SHPort, SHNoFallback
	switch scheduler {
	case "sh":
	case "mh":
		port, noFallback = MHPort, MHNoFallback
	default:
		return ""
	}
	text := scheduler + "-fallback"
	if f&noFallback != 0 {
		text = scheduler + "-no-fallback"
	}
	if f&port != 0 {
		text += "," + scheduler + "-port"
	}
	return text
}

// names lists the flags that somebody wrote, without what is on anyway.
func (f SchedulerFlags) names() string {
	var set []string
	for i, name := range []string{"sh-port", "sh-no-fallback", "mh-port", "mh-no-fallback"} {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
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
