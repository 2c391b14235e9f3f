package sync

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
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
	// Answered is false if somebody else holds the port, or if it cannot be answered.
	Answered bool
	// Silent says why it cannot be answered, whoever holds it; empty if it can.
	Silent string
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
	v := CheckView{Service: svc.ID, Port: svc.HealthCheckNodePort, NotAnswered: s.leftOutBecause(svc.ID)}
	if v.NotAnswered != "" {
		return v
	}
	for _, key := range s.checkKeys(svc) {
		holder, _ := s.ledger.Holder(key)
		holds := s.ledger.Holds(svc.ID, allocator.Claim{Key: key, Kind: allocator.HealthCheck})
		silent := ""
		if holds {
			silent = s.silentBecause(key)
		}
		v.Addresses = append(v.Addresses, CheckAddressView{
			Addr: key.Addr, Holder: holder.ID, LocalEndpoints: svc.localReady(key.Addr), Answered: holds && silent == "", Silent: silent,
		})
	}
	if len(v.Addresses) == 0 {
		v.NotAnswered = s.unservedBecause(svc)
	}
	return v
}

// silentBecause says why a health check is not answered whose Service holds the port; empty if it is.
func (s *State) silentBecause(key frontend.Key) string {
	if _, absent := s.checks.absent[key.Addr]; absent {
		return "the node lacks the address at the moment"
	}
	if err := s.checks.failed[key.AddrPort()]; err != nil {
		return err.Error()
	}
	return ""
}
