package sync

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// PortView says what becomes of one Service port on this node, for people and scripts.
type PortView struct {
	Service   ServiceID
	Name      string // the port's name, may be empty
	Port      uint16
	NodePort  uint16
	Extra     bool // asked for beside the node ports
	Protocol  frontend.Protocol
	Policy    TrafficPolicy
	Scheduler string // in force
	Frontends []FrontendView
	// Endpoints are all of the port with what becomes of each.
	Endpoints []EndpointView
	// NotServed says why, if no frontend of the port is served here; empty otherwise. A port that cannot be used as it
	// is written has this and the Service alone.
	NotServed string
}

// FrontendView is one address of a PortView.
type FrontendView struct {
	Key frontend.Key
	// Served is false if another Service holds the frontend, or if Obstacle is not empty.
	Served bool
	// Obstacle says who else is on the port, so that it is not served.
	Obstacle string
	// Holder is the Service that holds it.
	Holder ServiceID
	// Rivals claim it too, and would take it over one after the other.
	Rivals     []Rival
	Masquerade filter.Masquerade
	// Internal: only this node and its pods may connect.
	Internal bool
	// Restricted: not everybody may connect, by the Service's source ranges.
	Restricted bool
	Reals      []RealView
	// Maintenance are the endpoints of weight 0, which get no new connection.
	Maintenance []netip.AddrPort
	// NoClients says why nobody may connect, whoever serves; empty if somebody may.
	NoClients string
	// Why says in words why there are no real servers, or why nobody else may connect; empty if there are some for all.
	Why string
}

// RealView is a real server that gets new connections.
type RealView struct {
	Addr   netip.AddrPort
	Weight uint32
}

// SettingsView are the settings of one Service.
type SettingsView struct {
	Service  ServiceID
	Settings []Setting
}

// ViewSettings is what the authors of Services chose beyond what Kubernetes knows, and what is in force of it on this
// node, sorted by Service.
func (s *State) ViewSettings() []SettingsView {
	var views []SettingsView
	for _, id := range s.ServiceIDs() {
		if settings := s.SettingsOf(id); len(settings) > 0 {
			views = append(views, SettingsView{Service: id, Settings: settings})
		}
	}
	return views
}

// SettingsOf are those of one Service.
func (s *State) SettingsOf(id ServiceID) []Setting {
	svc := s.services[id]
	settings := slices.Clone(svc.Settings)
	for i, chosen := range settings {
		if len(svc.Ports) > 0 { // which all have one scheduler
			settings[i] = chosen.under(svc, s.schedulerOf(svc.Ports[0]))
		}
		if _, refused := s.refused[chosen.Scheduler]; refused {
			settings[i].InForce, settings[i].Why = s.Scheduler, fmt.Sprintf("this node's kernel has no scheduler %q", chosen.Scheduler)
		}
	}
	return settings
}

// View is every port of every Service that opens one on nodes, sorted by Service, in the order of the spec.
func (s *State) View() []PortView {
	var views []PortView
	for _, id := range s.ServiceIDs() {
		views = append(views, s.viewPorts(s.services[id])...)
	}
	return views
}

func (s *State) viewPorts(svc Service) []PortView {
	var views []PortView
	places := s.placesOf(svc)
	for _, port := range svc.Ports {
		views = append(views, s.viewPort(svc, port, port.keysAt(places)))
	}
	for _, p := range svc.Problems {
		if p.Skipped {
			views = append(views, PortView{Service: svc.ID, NotServed: p.Message})
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

// viewPort is what becomes of a port and of the frontends that it asks for.
func (s *State) viewPort(svc Service, port ServicePort, keys []frontend.Key) PortView {
	v := PortView{
		Service: svc.ID, Name: port.Name, Port: port.Port, NodePort: port.NodePort, Extra: port.Extra, Protocol: port.Protocol,
		Policy: port.Policy, Scheduler: s.schedulerOf(port), Endpoints: verdicts(port),
	}
	if v.NotServed = s.leftOutBecause(svc.ID); v.NotServed != "" {
		return v
	}
	if len(keys) == 0 {
		v.NotServed = s.unservedBecause(svc)
	}
	for _, key := range keys {
		f, _ := s.want[key]
		holder, _ := s.ledger.Holder(key)
		fv := FrontendView{Key: key, Holder: holder.ID, Rivals: rivalsOf(s.ledger.Claimants(key)), Served: s.ledger.Holds(svc.ID, allocator.Claim{Key: key, Kind: port.kind()})}
		if o := s.obstacleTo(port, key); fv.Served && o.blocks {
			fv.Served, fv.Obstacle = false, o.what
		}
		if fv.Served {
			fv.Masquerade, fv.Internal, fv.Restricted = f.Masquerade, f.Internal, f.Sources != nil
			for _, addr := range f.Entry.RealKeys() {
				fv.Reals = append(fv.Reals, RealView{Addr: addr, Weight: f.Entry.Reals[addr].Weight})
			}
			for _, e := range choose(port, key.Addr).use {
				if e.Maintenance {
					fv.Maintenance = append(fv.Maintenance, e.Addr)
				}
			}
			fv.NoClients = noClientsBecause(svc, key.Addr)
			fv.Why = lackingBecause(port, key.Addr)
			f.crowdOut(v.Endpoints, key.Addr, s.Bounds.RealServers)
		}
		v.Frontends = append(v.Frontends, fv)
	}
	return v
}

// rivalsOf are all claimants but the holder.
func rivalsOf(claimants []allocator.Claimant) []Rival {
	var rivals []Rival
	for i, c := range claimants {
		if i == 0 {
			continue
		}
		rivals = append(rivals, Rival{Service: c.ID, Kind: c.Kind})
	}
	return rivals
}

// unservedBecause says why a Service asks for no address of this node.
func (s *State) unservedBecause(svc Service) string {
	if svc.Networks != nil && slices.ContainsFunc(s.places, func(p nodeaddr.Place) bool { return svc.Families.Has(p.Addr) }) {
		return "the Service's networks select no address that serves on this node"
	}
	return "no address of this node is chosen for its address family"
}

// noClientsBecause says why the source ranges of a Service let nobody reach an address; empty if somebody may.
func noClientsBecause(svc Service, addr netip.Addr) string {
	if allow := FamiliesOf(svc.Sources.Allow()); allow != 0 && !allow.Has(addr) {
		return fmt.Sprintf("the Service's source ranges have none of %s", FamiliesOf([]netip.Prefix{netip.PrefixFrom(addr, 0)}))
	}
	return ""
}

// lackingBecause says why a port has no endpoint to use for the family of addr, or none for clients from outside; empty if
// it has some.
func lackingBecause(port ServicePort, addr netip.Addr) string {
	c := choose(port, addr)
	switch up := func(e Endpoint) bool { return !e.Maintenance }; {
	case len(c.use) > 0 && !slices.ContainsFunc(c.use, up):
		return fmt.Sprintf("every endpoint that could be used (%d) has weight 0", len(c.use))
	case len(c.use) > 0 && !c.internal:
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
