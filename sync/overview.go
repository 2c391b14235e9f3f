package sync

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// Overview is what the loop knows at one moment, for people. It shares with the loop only what nobody writes to any more, so
// that whoever looks at it takes as long as he likes.
type Overview struct {
	*State

	Time time.Time
	// KernelOnly: nobody knows the Services, all that there is to go by is the kernel.
	KernelOnly bool
	// Settled: the kernel was read at least once, so that what is served is known.
	Settled  bool
	Status   Status
	Counters Counters
	Health   Health
	// All are the addresses of the node, and Rejected those that do not serve, with the reason.
	All      []nodeaddr.Address
	Rejected []nodeaddr.Rejected
	// Grace are the addresses that vanished and are served still, and until when.
	Grace map[netip.Addr]time.Time
	// Rules is our nftables table as it was last acknowledged.
	Rules filter.Rules

	drainTimeout time.Duration
	partial      bool
	orphans      keySet
	patience     patience
	leaving      map[frontend.Key]departures
	rising       map[frontend.Key]rising
	retry        map[frontend.Key]backoff
}

// NewOverview is the overview of a state that no loop brings to a kernel, the one of a plan, on a node with these addresses.
func NewOverview(s *State, all []nodeaddr.Address, rejected []nodeaddr.Rejected) *Overview {
	return &Overview{State: s, Time: time.Now(), Settled: true, All: all, Rejected: rejected, drainTimeout: time.Hour} // whatever it is, nothing has waited yet
}

// NewKernelOverview is the overview of a node without an agent, of which our nftables table tells what is ours.
func NewKernelOverview(rules filter.Rules, all []nodeaddr.Address, d Defaults) *Overview {
	return &Overview{State: NewState(d), Time: time.Now(), KernelOnly: true, All: all, Rules: rules}
}

// Overview copies what the loop knows, between two passes or within one, as Ask has it: what is wanted may be ahead of the
// kernel by what that pass is about to write, and a diff shows that. Who asks again finds it written. It takes some
// milliseconds of the loop's time for thousands of Services on two addresses.
func (r *Reconciler) Overview(ctx context.Context) (*Overview, error) {
	var o *Overview
	var primary []netip.Addr
	err := r.Ask(ctx, func(s *State) {
		primary = r.primary
		o = &Overview{
			State: s.copied(), Settled: r.adopted, Grace: maps.Clone(r.grace), Rules: r.rules.Clone(),
			drainTimeout: r.DrainTimeout, partial: r.partial, orphans: maps.Clone(r.orphans),
			patience: maps.Clone(r.patience), leaving: maps.Clone(r.leaving), rising: maps.Clone(r.rising), retry: maps.Clone(r.retry),
		}
	})
	if err != nil {
		return nil, err
	}
	o.Time = time.Now()
	o.Status, o.Counters, o.Health = r.Status(), r.Counters(), r.Health(o.Time)
	if all, known := r.Addresses.Addresses(); known {
		o.All = all
		_, o.Rejected = r.NodePortAddresses.Select(all, primary)
	}
	return o, nil
}

// Glance is what there is to know without the loop's help: how it is, and what it has counted. The State is empty. It never
// waits, so it is there when the loop is stuck, or has nothing to go by yet.
func (r *Reconciler) Glance() *Overview {
	o := &Overview{State: NewState(r.Defaults), Time: time.Now()}
	o.Status, o.Counters, o.Health = r.Status(), r.Counters(), r.Health(o.Time)
	return o
}

// copied is the state with maps of its own. What is in them is shared: it is replaced, never written to.
func (s *State) copied() *State {
	c := *s
	c.services, c.want, c.keys = maps.Clone(s.services), maps.Clone(s.want), maps.Clone(s.keys)
	c.problems, c.source = maps.Clone(s.problems), slices.Clone(s.source)
	c.ledger = s.ledger.Clone()
	c.obstacles.kept = maps.Clone(s.obstacles.kept)
	c.claims, c.dirty, c.news = map[ServiceID]struct{}{}, map[ServiceID]struct{}{}, map[ServiceID]struct{}{}
	c.admission = admission{leftOut: s.admission.leftOut}
	c.checks = checks{absent: s.checks.absent, failed: s.checks.failed}
	return &c
}

// Departing are the real servers of a frontend that wait for their connections to end, and since when.
func (o *Overview) Departing(key frontend.Key) map[netip.AddrPort]time.Time {
	since := map[netip.AddrPort]time.Time{}
	for addr, d := range o.leaving[key] {
		since[addr] = d.since
	}
	return since
}

// Stuck says what the kernel does not take of a frontend, and when it is tried again; a nil error if it takes everything.
func (o *Overview) Stuck(key frontend.Key) (again time.Time, err error) {
	b := o.retry[key]
	return b.at, b.err
}

// Problems are all that there are: those of the state, and those of frontends that fail.
func (o *Overview) Problems() []Problem {
	return append(o.State.Problems(), stuck(o.State, o.retry)...)
}

// ProblemsOf are those of one Service, also of one that cannot be read.
func (o *Overview) ProblemsOf(id ServiceID) []Problem {
	problems, object := slices.Clone(o.problems[id]), "Service "+id.String()
	for _, p := range o.source {
		if p.Object == object {
			problems = append(problems, p)
		}
	}
	var failing []Problem
	for _, key := range o.keys[id] {
		if b, fails := o.retry[key]; fails {
			failing = append(failing, b.problem(object, key))
		}
	}
	slices.SortFunc(failing, compareProblems)
	return append(problems, failing...)
}

// Ours reports whether a frontend is ours: because it is wanted, or by our nftables table.
func (o *Overview) Ours(key frontend.Key) bool {
	_, wanted := o.Want(key)
	return wanted || o.Rules.Owned.Has(key)
}

// OurKeys lists every frontend that is ours.
func (o *Overview) OurKeys() []frontend.Key {
	keys := newKeySet(o.Keys()...)
	for key := range o.Rules.Owned {
		keys.add(key)
	}
	return keys.sorted()
}

// Next is the part of a kernel table under keys that are ours, as it is, and as a pass would leave it that ran now: the
// difference is what the pass would write. Real servers that leave are in both.
func (o *Overview) Next(kernel ipvs.Table, keys []frontend.Key) (have, next ipvs.Table) {
	have, next = kernel.Only(keys), ipvs.Table{}
	here := map[netip.Addr]bool{}
	for _, a := range o.All {
		here[a.Addr] = true
	}
	for addr := range o.Grace {
		here[addr] = true
	}
	for _, key := range keys {
		present, exists := have[key]
		f, wanted := o.Want(key)
		var want *Frontend
		if wanted {
			want = &f
		}
		switch {
		case !exists && want == nil:
		case want == nil && o.orphans.has(key) && (o.partial || placeless(key.Addr, o.Grace, o.Places())): // as Reconciler.workable has it
			next[key] = present
		default:
			timeout := time.Duration(0) // as Reconciler.drainTimeout has it
			if here[key.Addr] {
				timeout = o.patience.of(key, f, wanted, o.drainTimeout)
			}
			if entry, _, _ := follow(o.Time, timeout, key, present, want, o.leaving[key], o.rising[key]); entry != nil {
				next[key] = *entry
			}
		}
	}
	return have, next
}

// ViewService is what becomes of one Service, with its health check if it asks for one; false if it opens no port here
// and nothing is wrong with it, or if there is none of that name.
func (s *State) ViewService(id ServiceID) (ports []PortView, check *CheckView, known bool) {
	svc, known := s.services[id]
	if !known {
		return nil, nil, false
	}
	if svc.HealthCheckNodePort != 0 {
		c := s.viewCheck(svc)
		check = &c
	}
	return s.viewPorts(svc), check, true
}

// ServiceIDs lists the Services that open a port on nodes, or with which something is wrong, sorted.
func (s *State) ServiceIDs() []ServiceID {
	return slices.SortedFunc(maps.Keys(s.services), ServiceID.Compare)
}

// Sources says who may connect to a Service; nil is everybody.
func (s *State) Sources(id ServiceID) *filter.Sources { return s.services[id].Sources }

// Networks are those that a Service chose; nil leaves all addresses that serve.
func (s *State) Networks(id ServiceID) *nodeaddr.Spec { return s.services[id].Networks }

// FamiliesOf are the address families that a Service is for.
func (s *State) FamiliesOf(id ServiceID) Families { return s.services[id].Families }

// Claimants are the Services that claim a frontend, the holder first.
func (s *State) Claimants(key frontend.Key) []allocator.Claimant { return s.ledger.Claimants(key) }

// NotServedAt says why a Service asks for no frontend on an address that serves; empty if it does.
func (s *State) NotServedAt(id ServiceID, addr netip.Addr) string {
	svc, known := s.services[id]
	for _, place := range s.places {
		switch {
		case place.Addr != addr:
		case !known:
			return "the Service cannot be read"
		case svc.Families == 0:
			return "the Service is closed as long as a restriction of it cannot be read"
		case !svc.Families.Has(addr):
			return "the Service is for " + svc.Families.String()
		case !svc.servedAt(place):
			return "the Service's networks do not select it"
		default:
			return ""
		}
	}
	return "it does not serve"
}

// ServicesOn are the Services that open a port of this number on nodes, for one of these protocols, sorted.
func (s *State) ServicesOn(port uint16, protocols ...frontend.Protocol) []ServiceID {
	return slices.DeleteFunc(s.ServiceIDs(), func(id ServiceID) bool {
		return !slices.ContainsFunc(s.services[id].Ports, func(p ServicePort) bool {
			return p.NodePort == port && slices.Contains(protocols, p.Protocol)
		})
	})
}
