package sync

import (
	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Claim settles who holds what, before anything is computed by it, and reports whether a frontend is about to be served
// that is not wanted yet: what stands in its way has to be known by then.
func (s *State) Claim() (more bool) {
	s.settleClaims()
	for id := range s.dirty {
		svc := s.services[id]
		for _, port := range svc.Ports {
			for _, key := range s.keysOf(svc, port) {
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
	claims := make([]allocator.Claim, 0, len(svc.Ports)*len(s.places))
	for _, port := range svc.Ports {
		for _, key := range s.keysOf(svc, port) {
			claims = append(claims, allocator.Claim{Key: key, Kind: port.kind()})
		}
	}
	return append(claims, s.checkClaims(svc)...)
}

// keysOf are the frontends that a port asks for on this node.
func (s *State) keysOf(svc Service, port ServicePort) []frontend.Key {
	if len(s.places) == 0 {
		return nil
	}
	keys := make([]frontend.Key, 0, len(s.places))
	for _, place := range s.places {
		if svc.servedAt(place) {
			keys = append(keys, frontend.NewKey(place.Addr, port.Protocol, port.NodePort))
		}
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
