package sync

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
)

// CheckView says what becomes of a Service's health check on this node, for people and scripts.
type CheckView struct {
	Service   ServiceID
	Port      uint16
	Addresses []CheckAddressView
	// NotAnswered says why there are no Addresses; empty otherwise.
	NotAnswered string
}

// CheckAddressView is one address of a CheckView.
type CheckAddressView struct {
	Addr netip.Addr
	// Answered is false if somebody else holds the port.
	Answered bool
	// Holder is the Service that holds it.
	Holder         ServiceID
	LocalEndpoints int
}

// ViewChecks is every health check that a Service asks for, sorted by Service.
func (s *State) ViewChecks() []CheckView {
	var views []CheckView
	for _, id := range slices.SortedFunc(maps.Keys(s.services), ServiceID.Compare) {
		svc := s.services[id]
		if svc.HealthCheckNodePort == 0 {
			continue
		}
		views = append(views, s.viewCheck(svc))
	}
	return views
}

func (s *State) viewCheck(svc Service) CheckView {
	v := CheckView{Service: svc.ID, Port: svc.HealthCheckNodePort}
	for _, key := range s.checkKeys(svc) {
		holder, _ := s.ledger.Holder(key)
		v.Addresses = append(v.Addresses, CheckAddressView{
			Addr: key.Addr, Holder: holder.ID, LocalEndpoints: svc.localReady(key.Addr),
			Answered: s.ledger.Holds(svc.ID, allocator.Claim{Key: key, Kind: allocator.HealthCheck}),
		})
	}
	if len(v.Addresses) == 0 {
		v.NotAnswered = s.unservedBecause(svc)
	}
	return v
}
