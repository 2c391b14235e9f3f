package sync

import (
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// Claim settles who holds what, before anything is computed by it, and reports whether a frontend is about to be served
// that is not wanted yet: what stands in its way has to be known by then.
func (s *State) Claim() (more bool) {
	s.settleClaims()
	for id := range s.dirty {
		svc := s.services[id]
		places := s.placesOf(svc)
		for _, port := range svc.Ports {
			for _, key := range port.keysAt(places) {
				if s.want[key].Service != id && s.mayServe(id, port, key) {
					return true
				}
			}
		}
	}
	return false
}

// settleClaims enters the claims that have to be entered anew, and marks whom that concerns.
func (s *State) settleClaims() {
	for id := range s.claims {
		claims, before := s.claimsOf(id), s.ledger.Changes()
		for _, other := range s.ledger.Set(s.owner(id), claims) {
			s.dirty[other] = struct{}{}
		}
		if s.ledger.Changes() != before {
			s.admission.note(id, frontendsOf(claims))
		}
		s.dirty[id] = struct{}{}
	}
	s.claims = emptied(s.claims)
	for _, id := range s.admission.settle(s.Bounds, s.owner) {
		s.dirty[id] = struct{}{}
	}
}

func (s *State) owner(id ServiceID) allocator.Owner {
	svc := s.services[id]
	return allocator.Owner{ID: id, UID: svc.UID, Created: svc.Created}
}

func (s *State) claimsOf(id ServiceID) []allocator.Claim {
	svc := s.services[id]
	places := s.placesOf(svc)
	claims := make([]allocator.Claim, 0, len(svc.Ports)*len(places))
	for _, port := range svc.Ports {
		for _, key := range port.keysAt(places) {
			claims = append(claims, allocator.Claim{Key: key, Kind: port.kind()})
		}
	}
	return append(claims, s.checkClaims(svc)...)
}

// placesOf are those that serve a Service, to be read only. A Service's author may write hundreds of networks and a thousand ports: the
// places are chosen once, not for each port.
func (s *State) placesOf(svc Service) []nodeaddr.Place {
	i := slices.IndexFunc(s.places, func(p nodeaddr.Place) bool { return !svc.servedAt(p) })
	if i < 0 {
		return s.places
	}
	chosen := slices.Clone(s.places[:i])
	for _, place := range s.places[i+1:] {
		if svc.servedAt(place) {
			chosen = append(chosen, place)
		}
	}
	return chosen
}

// keysAt are the frontends that a port asks for on this node, if its Service is served at these places.
func (p ServicePort) keysAt(places []nodeaddr.Place) []frontend.Key {
	if len(places) == 0 {
		return nil
	}
	keys := make([]frontend.Key, len(places))
	for i, place := range places {
		keys[i] = frontend.NewKey(place.Addr, p.Protocol, p.NodePort)
	}
	return keys
}

// kind is that of the claims of a port.
func (p ServicePort) kind() allocator.Kind {
	if p.Extra {
		return allocator.ExtraPort
	}
	return allocator.NodePort
}
