package sync

import (
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// choice is what becomes of the endpoints of a Service port on frontends of one family. They may be the port's own: nobody
// writes to them.
type choice struct {
	// use gets new connections.
	use []Endpoint
	// quiet finishes what it has: it terminates, still serves, and others are there for new connections. It has no
	// deadline but its own.
	quiet []Endpoint
	// internal: new connections come from this node and its pods only.
	internal bool
}

// choose picks the endpoints of a port for the family of addr, as kube-proxy does (kubernetes pkg/proxy/topology.go,
// CategorizeEndpoints; KEP-1669, KEP-2433, KEP-3015): ready ones that the hints leave, and while there is none, those that
// terminate but still serve, whatever their hints. What fails its readiness while it terminates is never used.
//
// Policy Local looks at the node's own endpoints only, and at no hints. Where it has none, this node and its pods are
// served by what policy Cluster would choose, and everybody else's new connections are dropped, so that a load balancer
// in front tries another node.
func choose(port ServicePort, addr netip.Addr) choice {
	if port.Policy == Cluster {
		return usable(port.Endpoints, addr, false)
	}
	if local := usable(port.Endpoints, addr, true); len(local.use) > 0 {
		return local
	}
	c := usable(port.Endpoints, addr, false)
	c.internal = len(c.use) > 0 // without any endpoint everybody is refused
	return c
}

// usable chooses among the endpoints of the family of addr: all of them, or those on this node. Where all are chosen, which
// is usual, they are not copied.
func usable(endpoints []Endpoint, addr netip.Addr, localOnly bool) choice {
	here := func(e *Endpoint) bool { return e.Addr.Addr().Is4() == addr.Is4() && (!localOnly || e.Local) }
	ready := only(endpoints, func(e *Endpoint) bool { return here(e) && e.Ready })
	if len(ready) == len(endpoints) && !localOnly {
		return choice{use: near(ready)}
	}
	terminating := only(endpoints, func(e *Endpoint) bool { return here(e) && !e.Ready && e.Serving && e.Terminating })
	if len(ready) == 0 {
		return choice{use: terminating}
	}
	if !localOnly {
		ready = near(ready)
	}
	return choice{use: ready, quiet: terminating}
}

// only are the endpoints that keep chooses, in their order: all of them if it chooses all, else a copy.
func only(endpoints []Endpoint, keep func(*Endpoint) bool) []Endpoint {
	n := count(endpoints, keep)
	switch n {
	case 0:
		return nil
	case len(endpoints):
		return endpoints
	}
	kept := make([]Endpoint, 0, n)
	for i := range endpoints {
		if keep(&endpoints[i]) {
			kept = append(kept, endpoints[i])
		}
	}
	return kept
}

func count(endpoints []Endpoint, which func(*Endpoint) bool) int {
	n := 0
	for i := range endpoints {
		if which(&endpoints[i]) {
			n++
		}
	}
	return n
}

// near leaves those of ready endpoints that are meant for this node, or else for its zone. Hints of a kind count only if
// every endpoint has one and at least one names this node (this zone): one that misses switches them off, since the
// control plane may be in the middle of writing them.
func near(ready []Endpoint) []Endpoint {
	for _, hint := range []func(*Endpoint) Hint{
		func(e *Endpoint) Hint { return e.NodeHint },
		func(e *Endpoint) Hint { return e.ZoneHint },
	} {
		if count(ready, func(e *Endpoint) bool { return hint(e) == NoHint }) > 0 {
			continue
		}
		if here := only(ready, func(e *Endpoint) bool { return hint(e) == Here }); len(here) > 0 {
			return here
		}
	}
	return ready
}

// NoLocal is how many Service ports with policy Local have endpoints, but none on this node, so that they serve nobody
// outside. A port counts once, on however many addresses and in whichever family it lacks them.
func (s *State) NoLocal() int { return s.noLocalPorts }

// countLocal counts the ports of a Service for NoLocal.
func (s *State) countLocal(id ServiceID, frontends map[frontend.Key]Frontend) {
	var ports map[PortRef]struct{} // mostly there is none
	for _, key := range s.keys[id] {
		if f := frontends[key]; f.Internal {
			if ports == nil {
				ports = map[PortRef]struct{}{}
			}
			ports[f.Port] = struct{}{}
		}
	}
	s.noLocalPorts += len(ports) - s.noLocal[id]
	delete(s.noLocal, id)
	if len(ports) > 0 {
		s.noLocal[id] = len(ports)
	}
}
