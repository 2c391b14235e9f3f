package sync

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// PortView says what becomes of one Service port on this node, for people and scripts.
type PortView struct {
	Service   ServiceID
	Name      string // the port's name, may be empty
	Port      uint16
	NodePort  uint16
	Protocol  frontend.Protocol
	Policy    TrafficPolicy
	Scheduler string // in force
	Frontends []FrontendView
	// NotServed says why, if no frontend of the port is served here; empty otherwise. A port that cannot be used as it
	// is written has this and the Service alone.
	NotServed string
}

// FrontendView is one address of a PortView.
type FrontendView struct {
	Key frontend.Key
	// Served is false if another Service holds the frontend.
	Served bool
	// Holder is the Service that holds it.
	Holder     ServiceID
	Masquerade filter.Masquerade
	// Internal: only this node and its pods may connect.
	Internal bool
	Reals    []netip.AddrPort
	// Why says in words why there are no real servers, or why nobody else may connect; empty if there are some for all.
	Why string
}

// View is every port of every Service that opens one on nodes, sorted by Service, in the order of the spec.
func (s *State) View() []PortView {
	var views []PortView
	for _, id := range slices.SortedFunc(maps.Keys(s.services), ServiceID.Compare) {
		svc := s.services[id]
		for _, port := range svc.Ports {
			views = append(views, s.viewPort(svc, port))
		}
		for _, p := range svc.Problems {
			if p.Skipped {
				views = append(views, PortView{Service: id, NotServed: p.Message})
			}
		}
	}
	return views
}

// Table is everything that should be served, as an IPVS table.
func (s *State) Table() ipvs.Table {
	t := make(ipvs.Table, len(s.want))
	for key, f := range s.want {
		t[key] = f.Entry
	}
	return t
}

func (s *State) viewPort(svc Service, port ServicePort) PortView {
	v := PortView{
		Service: svc.ID, Name: port.Name, Port: port.Port, NodePort: port.NodePort, Protocol: port.Protocol,
		Policy: port.Policy, Scheduler: s.schedulerOf(port),
	}
	keys := s.keysOf(svc, port)
	if len(keys) == 0 {
		v.NotServed = "no address of this node is chosen for its address family"
	}
	for _, key := range keys {
		f, _ := s.want[key]
		holder, _ := s.ledger.Holder(key)
		fv := FrontendView{Key: key, Holder: holder.ID, Served: holder.ID == svc.ID}
		if fv.Served {
			fv.Masquerade, fv.Internal = f.Masquerade, f.Internal
			fv.Reals = f.Entry.RealKeys()
			fv.Why = lackingBecause(port, key.Addr)
		}
		v.Frontends = append(v.Frontends, fv)
	}
	return v
}

// lackingBecause says why a port has no endpoint to use for the family of addr, or none for clients from outside; empty if
// it has some.
func lackingBecause(port ServicePort, addr netip.Addr) string {
	if c := choose(port, addr); len(c.use) > 0 && !c.internal {
		return ""
	}
	var family, here int
	for _, e := range port.Endpoints {
		if e.Addr.Addr().Is4() != addr.Is4() {
			continue
		}
		family++
		if e.Local {
			here++
		}
	}
	switch {
	case family == 0:
		return "no endpoints"
	case port.Policy == Local && here == 0:
		return none(family) + " on this node (externalTrafficPolicy: Local)"
	case port.Policy == Local:
		return none(here) + " ready, of those on this node (externalTrafficPolicy: Local)"
	}
	return none(family) + " ready"
}

// none begins a sentence about endpoints of which none is as it should be.
func none(n int) string {
	if n == 1 {
		return "the only endpoint is not"
	}
	return fmt.Sprintf("none of %d endpoints is", n)
}
