package sync

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Frontend is what the node should serve under one key.
type Frontend struct {
	Service ServiceID
	// Port is the Service port that it is for: for people and metrics.
	Port PortRef
	// Entry is the virtual server with the endpoints that get new connections. Frontends of one port on several addresses
	// share them, and Quiet: nobody writes to them.
	Entry ipvs.Entry
	// Quiet are endpoints that get no new connection and keep what they have, for as long as they like: they terminate and
	// still serve, or are in maintenance. Weight 0 where the kernel has them, never added.
	Quiet map[netip.AddrPort]struct{}
	// endpoints are all of the port, chosen or not, sorted by address.
	endpoints []Endpoint
	// Masquerade says whose requests reach the endpoint with an address of this node.
	Masquerade filter.Masquerade
	// Internal: new connections from outside of this node and its pods are dropped.
	Internal bool
	// Sources says whose new connections are taken; nil is everybody's.
	Sources *filter.Sources
	// Extra: nobody but the Service's author says that the port is ours.
	Extra bool
	// SlowStart is the time over which a new real server gets its weight; 0 is at once.
	SlowStart time.Duration
	// DrainTimeout bounds how long a real server that is gone keeps its connections; 0 is the node's own bound.
	DrainTimeout time.Duration
}

// Equal reports whether both ask for the same kernel state under the same names, apart from how what is not chosen leaves it.
func (f Frontend) Equal(o Frontend) bool {
	return f.Service == o.Service && f.Port == o.Port && f.Masquerade == o.Masquerade && f.Internal == o.Internal && f.DrainTimeout == o.DrainTimeout && f.Sources.Equal(o.Sources) &&
		f.Entry.Equal(o.Entry) && maps.Equal(f.Quiet, o.Quiet)
}

// lives reports whether an endpoint that is not chosen goes on serving all the same: hints or a policy mean it for others.
func (f Frontend) lives(addr netip.AddrPort) bool {
	i, found := slices.BinarySearchFunc(f.endpoints, addr, func(e Endpoint, addr netip.AddrPort) int { return e.Addr.Compare(addr) })
	return found && (f.endpoints[i].Ready || f.endpoints[i].Serving && f.endpoints[i].Terminating)
}

// desired is the frontend of one Service port on one address. It is pure; scheduler is the one in force for the port, and
// masquerade the node's for everything but local endpoints under policy Local. There the endpoints see their clients, but
// for the pods beside them, whose replies would take the way straight back.
func desired(svc Service, port ServicePort, key frontend.Key, scheduler string, masquerade filter.Masquerade) Frontend {
	c, steps := choose(port, key.Addr), port.steps(scheduler)
	f := Frontend{
		Service: svc.ID,
		Port:    port.ref(svc.ID),
		Entry: ipvs.Entry{
			VirtualServer: ipvs.VirtualServer{Scheduler: scheduler, Flags: port.SchedulerFlags.of(scheduler)},
			Reals:         make(map[netip.AddrPort]ipvs.RealServer, len(c.use)),
		},
		Masquerade: masquerade,
		Internal:   c.internal,
		Sources:    svc.Sources,
		Extra:      port.Extra,
		SlowStart:  port.slowStart(scheduler),
		endpoints:  port.Endpoints,

		DrainTimeout: port.DrainTimeout,
	}
	if port.Policy == Local && !c.internal {
		f.Masquerade = filter.MasqueradePods
	}
	if possible, _ := port.onePacket(scheduler); possible && port.OnePacket && !c.internal && key.Protocol == frontend.UDP {
		f.Entry.Flags |= ipvs.OnePacket
		f.Masquerade = filter.MasqueradeNone
	}
	if port.Affinity.Timeout > 0 {
		f.Entry.Flags |= ipvs.Persistent
		f.Entry.PersistenceTimeout = uint32(port.Affinity.Timeout / time.Second)
		f.Entry.PersistencePrefix = port.Affinity.prefix(key.Addr)
	}
	for i := range c.use {
		if e := &c.use[i]; !e.Maintenance {
			f.Entry.Reals[e.Addr] = port.real(e, steps)
		}
	}
	f.keepQuiet(c.quiet)
	if len(f.Entry.Reals) < len(c.use) {
		f.keepQuiet(c.use)
	}
	return f
}

// keepQuiet makes those endpoints quiet that get no new connection.
func (f *Frontend) keepQuiet(endpoints []Endpoint) {
	for i := range endpoints {
		addr := endpoints[i].Addr
		if _, used := f.Entry.Reals[addr]; used {
			continue
		}
		if f.Quiet == nil {
			f.Quiet = map[netip.AddrPort]struct{}{}
		}
		f.Quiet[addr] = struct{}{}
	}
}

// real is an endpoint of the port as a real server, whose weight is multiplied by steps.
func (p *ServicePort) real(e *Endpoint, steps uint32) ipvs.RealServer {
	return ipvs.RealServer{
		Forwarding:     ipvs.Masquerade,
		Weight:         max(1, uint32(e.Weight)) * steps,
		UpperThreshold: p.Limits.Upper,
		LowerThreshold: p.Limits.Lower,
	}
}

// prefix is the prefix length for the family of addr as IPVS has it: 0 is the whole address.
func (a Affinity) prefix(addr netip.Addr) uint8 {
	bits := a.Prefix6
	if addr.Is4() {
		bits = a.Prefix4
	}
	if int(bits) == addr.BitLen() {
		return 0
	}
	return bits
}
