package sync

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// State is everything that decides what the node should serve, and what follows from it. It is pure: the agent feeds
// it with what the sources say and brings the result to the kernel; plan feeds it once and prints the result.
//
// It is incremental: Resolve looks only at the Services that changed, and at those that gained or lost a port by it.
// It is not safe for concurrent use.
type State struct {
	scheduler string // the node's default

	services  map[ServiceID]Service
	addresses []netip.Addr // sorted
	ledger    *allocator.Ledger
	refused   map[string]struct{} // schedulers that this kernel has not
	source    []Problem           // problems that belong to no Service

	want   map[frontend.Key]Frontend
	keys   map[ServiceID][]frontend.Key // the keys of want by Service
	claims map[ServiceID]struct{}       // Services whose claims have to be entered anew
	dirty  map[ServiceID]struct{}       // Services whose frontends have to be computed anew

	problems map[ServiceID][]Problem // by Service, sorted
	news     map[ServiceID]struct{}  // Services whose problems may have changed since they were asked for
}

// NewState is an empty state; scheduler serves where a Service chooses none.
func NewState(scheduler string) *State {
	return &State{
		scheduler: scheduler,
		services:  map[ServiceID]Service{},
		ledger:    allocator.New(),
		refused:   map[string]struct{}{},
		want:      map[frontend.Key]Frontend{},
		keys:      map[ServiceID][]frontend.Key{},
		claims:    map[ServiceID]struct{}{},
		dirty:     map[ServiceID]struct{}{},
		problems:  map[ServiceID][]Problem{},
		news:      map[ServiceID]struct{}{},
	}
}

// Update takes in what a source delivered.
func (s *State) Update(u Update) {
	for _, svc := range u.Services {
		if len(svc.Ports) == 0 && len(svc.Problems) == 0 {
			delete(s.services, svc.ID)
		} else {
			s.services[svc.ID] = svc
		}
		s.claims[svc.ID] = struct{}{}
	}
	s.source = u.Problems
}

// SetAddresses says which addresses of the node serve. It concerns every Service, if it changes anything.
func (s *State) SetAddresses(addrs []netip.Addr) {
	addrs = slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare))
	if slices.Equal(addrs, s.addresses) {
		return
	}
	s.addresses = addrs
	for id := range s.services {
		s.claims[id] = struct{}{}
	}
}

// Addresses are the addresses that serve, sorted.
func (s *State) Addresses() []netip.Addr { return slices.Clone(s.addresses) }

// SetRefused names the schedulers that the kernel does not have: Services that chose one are served by the default.
func (s *State) SetRefused(schedulers []string) {
	old := s.refused
	s.refused = make(map[string]struct{}, len(schedulers))
	for _, name := range schedulers {
		s.refused[name] = struct{}{}
	}
	for id, svc := range s.services {
		for _, p := range svc.Ports {
			_, was := old[p.Scheduler]
			if _, is := s.refused[p.Scheduler]; is != was {
				s.dirty[id] = struct{}{}
			}
		}
	}
}

// Resolve computes what has to be computed anew and returns the keys whose frontend changed, came or went, sorted.
func (s *State) Resolve() []frontend.Key {
	for id := range s.claims {
		for _, other := range s.ledger.Set(s.owner(id), s.claimsOf(id)) {
			s.dirty[ServiceID(other)] = struct{}{}
		}
		s.dirty[id] = struct{}{}
	}
	clear(s.claims)
	changed := map[frontend.Key]struct{}{}
	// What is given up comes before what is taken: a port that moves from one Service to another has one owner.
	fresh := map[frontend.Key]Frontend{}
	for id := range s.dirty {
		for _, key := range s.keys[id] {
			changed[key] = struct{}{}
		}
		delete(s.keys, id)
		for key, f := range s.frontends(id) {
			fresh[key] = f
			s.keys[id] = append(s.keys[id], key)
			changed[key] = struct{}{}
		}
		s.assess(id)
	}
	clear(s.dirty)
	for key := range changed {
		f, wanted := fresh[key]
		old, was := s.want[key]
		if wanted == was && old.Equal(f) {
			delete(changed, key)
			continue
		}
		if wanted {
			s.want[key] = f
		} else {
			delete(s.want, key)
		}
	}
	return slices.SortedFunc(maps.Keys(changed), frontend.Key.Compare)
}

// Want is what should be served under key; false if nothing.
func (s *State) Want(key frontend.Key) (Frontend, bool) {
	f, ok := s.want[key]
	return f, ok
}

// Keys lists everything that should be served, sorted.
func (s *State) Keys() []frontend.Key {
	return slices.SortedFunc(maps.Keys(s.want), frontend.Key.Compare)
}

func (s *State) owner(id ServiceID) allocator.Owner {
	svc := s.services[id]
	return allocator.Owner{ID: allocator.ID(id), UID: svc.UID, Created: svc.Created}
}

func (s *State) claimsOf(id ServiceID) []allocator.Claim {
	svc := s.services[id]
	var claims []allocator.Claim
	for _, port := range svc.Ports {
		for _, key := range s.keysOf(svc, port) {
			claims = append(claims, allocator.Claim{Key: key, Kind: allocator.NodePort})
		}
	}
	return claims
}

// keysOf are the frontends that a port asks for on this node.
func (s *State) keysOf(svc Service, port ServicePort) []frontend.Key {
	var keys []frontend.Key
	for _, addr := range s.addresses {
		if svc.Families.Has(addr) {
			keys = append(keys, frontend.NewKey(addr, port.Protocol, port.NodePort))
		}
	}
	return keys
}

// frontends are those of a Service that it also holds.
func (s *State) frontends(id ServiceID) map[frontend.Key]Frontend {
	svc := s.services[id]
	all := map[frontend.Key]Frontend{}
	for _, port := range svc.Ports {
		for _, key := range s.keysOf(svc, port) {
			if holder, ok := s.ledger.Holder(key); ok && ServiceID(holder.ID) == id {
				all[key] = desired(id, port, key, s.schedulerOf(port))
			}
		}
	}
	return all
}

// schedulerOf is the scheduler in force for a port.
func (s *State) schedulerOf(port ServicePort) string {
	if _, refused := s.refused[port.Scheduler]; refused || port.Scheduler == "" {
		return s.scheduler
	}
	return port.Scheduler
}

// Problems are all that there are now, those of the sources first, then by Service.
func (s *State) Problems() []Problem {
	all := s.general()
	for _, id := range slices.SortedFunc(maps.Keys(s.problems), ServiceID.Compare) {
		all = append(all, s.problems[id]...)
	}
	return all
}

// general are the problems that belong to no Service.
func (s *State) general() []Problem {
	all := slices.Clone(s.source)
	if len(s.addresses) == 0 && len(s.services) > 0 {
		all = append(all, Problem{
			Object: "--nodeport-addresses", Reason: NoAddress,
			Message: "no address of this node is chosen, so no node port is served here: kube-ipvs check and plan say what each address lacks",
		})
	}
	return all
}

// News are the Services whose problems changed since the last call, with the problems that they have now.
func (s *State) News() map[ServiceID][]Problem {
	news := make(map[ServiceID][]Problem, len(s.news))
	for id := range s.news {
		news[id] = s.problems[id]
	}
	clear(s.news)
	return news
}

// assess collects the problems of one Service: those that its source found, and those that it has on this node.
func (s *State) assess(id ServiceID) {
	svc := s.services[id]
	found := slices.Clone(svc.Problems)
	for _, port := range svc.Ports {
		found = append(found, s.portProblems(id, svc, port)...)
	}
	slices.SortFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
	})
	found = slices.Compact(found)
	if slices.Equal(found, s.problems[id]) {
		return
	}
	s.news[id] = struct{}{}
	if len(found) == 0 {
		delete(s.problems, id)
		return
	}
	s.problems[id] = found
}

func (s *State) portProblems(id ServiceID, svc Service, port ServicePort) []Problem {
	var found []Problem
	object := "Service " + id.String()
	keys := s.keysOf(svc, port)
	if len(keys) == 0 && len(s.addresses) > 0 { // without any address there is one problem, not one for each port
		found = append(found, Problem{
			Object: object, Reason: NoAddress,
			Message: fmt.Sprintf("node port %d/%s is not served here: --nodeport-addresses chooses no address of its family on this node",
				port.NodePort, port.Protocol),
		})
	}
	lost := map[ServiceID][]string{}
	why := map[ServiceID]string{}
	for _, key := range keys {
		holder, ok := s.ledger.Holder(key)
		if by := ServiceID(holder.ID); ok && by != id {
			lost[by] = append(lost[by], key.Addr.String())
			why[by] = "which comes first by name"
			if holder.Created.Before(svc.Created) {
				why[by] = "which is older"
			}
		}
	}
	for holder, addrs := range lost {
		found = append(found, Problem{
			Object: object, Reason: Conflict, Skipped: true,
			Message: fmt.Sprintf("node port %d/%s on %s belongs to Service %s, %s: give one of the two another nodePort",
				port.NodePort, port.Protocol, strings.Join(addrs, ", "), holder, why[holder]),
		})
	}
	if _, refused := s.refused[port.Scheduler]; refused {
		found = append(found, Problem{
			Object: object, Reason: KernelRefused,
			Message: fmt.Sprintf("node port %d/%s is served with scheduler %s: this node's kernel has no scheduler %q (module ip_vs_%s)",
				port.NodePort, port.Protocol, s.scheduler, port.Scheduler, port.Scheduler),
		})
	}
	return found
}
