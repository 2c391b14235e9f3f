package sync

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// State is everything that decides what the node should serve, and what follows from it. It is pure: the agent feeds
// it with what the sources say and brings the result to the kernel; plan feeds it once and prints the result.
//
// It is incremental: Resolve looks only at the Services that changed, and at those that gained or lost a port by it.
// It is not safe for concurrent use.
type State struct {
	Defaults

	services map[ServiceID]Service
	places   []nodeaddr.Place // the addresses that serve, sorted
	podless  Families         // those of which nobody knows this node's pods
	ledger   *allocator.Ledger
	refused  map[string]struct{} // schedulers that this kernel has not
	source   []Problem           // problems that belong to no Service
	untuned  string              // what settings of IPVS lack; empty if nothing

	want   map[frontend.Key]Frontend
	keys   map[ServiceID][]frontend.Key // the keys of want by Service
	claims map[ServiceID]struct{}       // Services whose claims have to be entered anew
	dirty  map[ServiceID]struct{}       // Services whose frontends have to be computed anew

	checks    checks
	obstacles obstacles
	admission admission

	noLocal      map[ServiceID]int // how many ports of a Service serve nobody outside: see NoLocal
	noLocalPorts int               // their sum

	problems map[ServiceID][]Problem // by Service, sorted
	news     map[ServiceID]struct{}  // Services whose problems may have changed since they were asked for
}

// Defaults are what a node does where a Service says nothing else.
type Defaults struct {
	// Scheduler serves where a Service chooses none.
	Scheduler string
	// Masquerade is MasqueradeAll, as in kube-proxy, or MasqueradeRemote: endpoints on this node see their clients.
	Masquerade filter.Masquerade
	// PortConflict says what becomes of node ports on which programs of the node listen.
	PortConflict PortConflict
	// NodePortRange is the API server's --service-node-port-range.
	NodePortRange allocator.Range
	// Bounds are how much of all that the node serves.
	Bounds Bounds
}

// NewState is an empty state.
func NewState(d Defaults) *State {
	return &State{
		Defaults: d,
		services: map[ServiceID]Service{},
		ledger:   allocator.New(),
		refused:  map[string]struct{}{},
		want:     map[frontend.Key]Frontend{},
		keys:     map[ServiceID][]frontend.Key{},
		claims:   map[ServiceID]struct{}{},
		dirty:    map[ServiceID]struct{}{},
		noLocal:  map[ServiceID]int{},
		problems: map[ServiceID][]Problem{},
		news:     map[ServiceID]struct{}{},
		checks:   newChecks(),

		admission: newAdmission(),
	}
}

// Update takes in what a source delivered.
func (s *State) Update(u Update) {
	for _, svc := range u.Services {
		if svc.Empty() {
			delete(s.services, svc.ID)
		} else {
			s.services[svc.ID] = svc
		}
		s.claims[svc.ID] = struct{}{}
	}
	s.source = u.Problems
}

// SetPlaces says which addresses of the node serve, and where they stand. It concerns every Service, if it changes anything.
func (s *State) SetPlaces(places []nodeaddr.Place) {
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b nodeaddr.Place) int { return a.Addr.Compare(b.Addr) })
	places = slices.CompactFunc(places, func(a, b nodeaddr.Place) bool { return a.Addr == b.Addr })
	if slices.EqualFunc(places, s.places, nodeaddr.Place.Equal) {
		return
	}
	s.places = places
	for id := range s.services {
		s.claims[id] = struct{}{}
	}
}

// Places are the addresses that serve, sorted.
func (s *State) Places() []nodeaddr.Place { return s.places }

// Addresses are the addresses that serve, sorted.
func (s *State) Addresses() []netip.Addr {
	addrs := make([]netip.Addr, len(s.places))
	for i, p := range s.places {
		addrs[i] = p.Addr
	}
	return addrs
}

// SetPodsKnown says of which families this node's pods can be told from other clients. It matters to policy Local.
func (s *State) SetPodsKnown(known Families) {
	podless := (IPv4 | IPv6) &^ known
	if s.podless == podless {
		return
	}
	s.podless = podless
	for id, svc := range s.services {
		if slices.ContainsFunc(svc.Ports, func(p ServicePort) bool { return p.Policy == Local }) {
			s.dirty[id] = struct{}{}
		}
	}
}

// SetUntuned says why the settings of IPVS are not as they should be; nil if they are.
func (s *State) SetUntuned(err error) {
	if s.untuned = ""; err != nil {
		s.untuned = err.Error()
	}
}

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
	s.settleClaims()
	if len(s.dirty) == 0 {
		return nil
	}
	changed := make(keySet, len(s.dirty)*len(s.places))
	// What is given up comes before what is taken: a port that moves from one Service to another has one owner.
	fresh := make(map[frontend.Key]Frontend, len(s.dirty)*len(s.places))
	for id := range s.dirty {
		changed.add(s.keys[id]...)
		delete(s.keys, id)
		if keys := s.frontends(id, fresh); len(keys) > 0 {
			s.keys[id] = keys
			changed.add(keys...)
		}
		s.countLocal(id, fresh)
		s.resolveChecks(id)
		s.assess(id)
	}
	s.dirty = emptied(s.dirty)
	for key := range changed {
		f, wanted := fresh[key]
		old, was := s.want[key]
		if wanted == was && old.Equal(f) {
			delete(changed, key)
			f.Entry.Reals, f.Quiet = old.Entry.Reals, old.Quiet // others have them in common with it
		}
		if wanted {
			s.want[key] = f
		} else {
			delete(s.want, key)
		}
	}
	return changed.sorted()
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

// frontends are those of a Service that it also holds, and that nobody else is in the way of, added to all. It returns their
// keys.
func (s *State) frontends(id ServiceID, all map[frontend.Key]Frontend) []frontend.Key {
	svc := s.services[id]
	places := s.placesOf(svc)
	keys := make([]frontend.Key, 0, len(svc.Ports)*len(places))
	for i := range svc.Ports {
		port := svc.Ports[i]
		var byFamily [2]Frontend // addresses of one family differ in nothing
		var known [2]bool
		for _, key := range port.keysAt(places) {
			if !s.mayServe(id, port, key) {
				continue
			}
			family := 0
			if key.Addr.Is4() {
				family = 1
			}
			if !known[family] {
				byFamily[family], known[family] = desired(svc, port, key, s.schedulerOf(port), s.Masquerade), true
				byFamily[family].bound(s.Bounds.RealServers)
			}
			all[key] = byFamily[family]
			keys = append(keys, key)
		}
	}
	return keys
}

// mayServe reports whether a Service is not left out and holds a frontend of a port, and nobody else is in the way of it.
func (s *State) mayServe(id ServiceID, port ServicePort, key frontend.Key) bool {
	return s.admission.leftOut[id] == fits && s.ledger.Holds(id, allocator.Claim{Key: key, Kind: port.kind()}) && !s.obstacleTo(port, key).blocks
}

// schedulerOf is the scheduler in force for a port.
func (s *State) schedulerOf(port ServicePort) string {
	if _, refused := s.refused[port.Scheduler]; refused || port.Scheduler == "" {
		return s.Scheduler
	}
	return port.Scheduler
}
