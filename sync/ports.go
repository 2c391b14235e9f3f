package sync

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// PortUse says who has a port of this node, and by what right: one row for each holder, kind of claim and set of rivals.
type PortUse struct {
	Port     uint16
	Protocol frontend.Protocol
	Kind     allocator.Kind
	Band     allocator.Band
	Owner    ServiceID
	// Addresses are those on which the owner holds the port.
	Addresses []netip.Addr
	// Rivals claim the port too and would take it over one after the other.
	Rivals []Rival
	// Others is what else is on the port, programs of the node and virtual servers that are not ours, or why the owner is left out.
	Others []string
	// Served is false where Others keep the owner from being served.
	Served bool
}

// Rival is a Service whose claim lost.
type Rival struct {
	Service ServiceID
	Kind    allocator.Kind
}

// BandUse says how much of a band of node ports is taken.
type BandUse struct {
	Band  allocator.Band
	Range allocator.Range
	// Taken counts the ports of the band that a Service has, whether or not it is served on this node.
	Taken int
}

// PortsView is who has which port of this node.
type PortsView struct {
	Ports []PortUse
	// Bands are those of the API server's range that have ports.
	Bands []BandUse
	// taken are the ports that Services have, on any node.
	taken *allocator.Ports
}

// Suggest lists up to n ports of the static band that no Service has, lowest first.
func (v PortsView) Suggest(n int) []uint16 {
	for _, b := range v.Bands {
		if b.Band == allocator.Static {
			return v.taken.Free(b.Range, n)
		}
	}
	return nil
}

// ViewPorts is who has which port, sorted by port, protocol and kind.
func (s *State) ViewPorts() PortsView {
	v := PortsView{taken: s.takenPorts()}
	rows := map[portRow]int{}
	for key, claimants := range s.ledger.Claims() {
		use := s.portUse(key, claimants)
		row := use.row()
		if i, known := rows[row]; known {
			v.Ports[i].Addresses = append(v.Ports[i].Addresses, key.Addr)
			continue
		}
		rows[row] = len(v.Ports)
		v.Ports = append(v.Ports, use)
	}
	slices.SortStableFunc(v.Ports, func(a, b PortUse) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Kind, b.Kind))
	})
	static, dynamic := s.NodePortRange.Bands()
	for band, r := range map[allocator.Band]allocator.Range{allocator.Static: static, allocator.Dynamic: dynamic} {
		if r.Size() > 0 {
			v.Bands = append(v.Bands, BandUse{Band: band, Range: r, Taken: v.taken.Count(r)})
		}
	}
	slices.SortFunc(v.Bands, func(a, b BandUse) int { return cmp.Compare(a.Range.First, b.Range.First) })
	return v
}

// takenPorts are the ports of all Services that the state knows, those included that no address of this node serves: the
// API server gives out each number once in the cluster.
func (s *State) takenPorts() *allocator.Ports {
	taken := s.ledger.Ports()
	for _, svc := range s.services {
		for _, p := range svc.Ports {
			taken.Add(p.NodePort)
		}
		taken.Add(svc.Unserved...)
		if svc.HealthCheckNodePort != 0 {
			taken.Add(svc.HealthCheckNodePort)
		}
	}
	return taken
}

func (s *State) portUse(key frontend.Key, claimants []allocator.Claimant) PortUse {
	holder := claimants[0]
	use := PortUse{
		Port: key.Port, Protocol: key.Protocol, Kind: holder.Kind, Band: s.NodePortRange.Band(key.Port),
		Owner: holder.ID, Addresses: []netip.Addr{key.Addr}, Served: true,
		Rivals: rivalsOf(claimants),
	}
	if holder.Kind != allocator.HealthCheck {
		if o := s.obstacleTo(ServicePort{Extra: holder.Kind == allocator.ExtraPort}, key); o.what != "" {
			use.Others, use.Served = []string{o.what}, !o.blocks
		}
	}
	if why := s.leftOutBecause(holder.ID); why != "" {
		use.Others, use.Served = []string{why}, false
	}
	return use
}

// portRow is the same for uses that differ in their addresses alone.
type portRow struct {
	port     uint16
	protocol frontend.Protocol
	kind     allocator.Kind
	owner    ServiceID
	served   bool
	company  string // others on the port, as text; mostly there are none
}

func (u PortUse) row() portRow {
	row := portRow{port: u.Port, protocol: u.Protocol, kind: u.Kind, owner: u.Owner, served: u.Served}
	if len(u.Rivals)+len(u.Others) > 0 {
		row.company = fmt.Sprint(u.Rivals, u.Others)
	}
	return row
}

// Ask calls f with the state, which is to be read, not written, and not to be kept. It waits until the loop is between two passes,
// or between two looks at the kernel of a long one. That one has taken in what came, and may not have written all of it yet.
// Nobody waits while the node lacks something without which there is no loop.
func (r *Reconciler) Ask(ctx context.Context, f func(*State)) error {
	if r.awaits() {
		return errNoLoop
	}
	done := make(chan struct{})
	select {
	case r.questions <- func() { f(r.state); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
