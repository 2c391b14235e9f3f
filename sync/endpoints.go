package sync

import (
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// choice is what becomes of the endpoints of a Service port on frontends of one family.
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

// usable chooses among the endpoints of the family of addr: all of them, or those on this node.
func usable(endpoints []Endpoint, addr netip.Addr, localOnly bool) choice {
	var ready, terminating []Endpoint
	for _, e := range endpoints {
		switch {
		case e.Addr.Addr().Is4() != addr.Is4():
		case localOnly && !e.Local:
		case e.Ready:
			ready = append(ready, e)
		case e.Serving && e.Terminating:
			terminating = append(terminating, e)
		}
	}
	if len(ready) == 0 {
		return choice{use: terminating}
	}
	if !localOnly {
		ready = near(ready)
	}
	return choice{use: ready, quiet: terminating}
}

// near leaves those of ready endpoints that are meant for this node, or else for its zone. Hints of a kind count only if
// every endpoint has one and at least one names this node (this zone): one that misses switches them off, since the
// control plane may be in the middle of writing them.
func near(ready []Endpoint) []Endpoint {
	for _, hint := range []func(Endpoint) Hint{
		func(e Endpoint) Hint { return e.NodeHint },
		func(e Endpoint) Hint { return e.ZoneHint },
	} {
		without := func(e Endpoint) bool { return hint(e) == NoHint }
		here := func(e Endpoint) bool { return hint(e) == Here }
		if slices.ContainsFunc(ready, without) || !slices.ContainsFunc(ready, here) {
			continue
		}
		return slices.DeleteFunc(ready, func(e Endpoint) bool { return !here(e) })
	}
	return ready
}

// NoLocal is how many Service ports with policy Local have endpoints, but none on this node, so that they serve nobody
// outside. A port counts once, on however many addresses and in whichever family it lacks them.
func (s *State) NoLocal() int { return s.noLocalPorts }

// countLocal counts the ports of a Service for NoLocal.
func (s *State) countLocal(id ServiceID, frontends map[frontend.Key]Frontend) {
	ports := map[PortRef]struct{}{}
	for _, key := range s.keys[id] {
		if f := frontends[key]; f.Internal {
			ports[f.Port] = struct{}{}
		}
	}
	s.noLocalPorts += len(ports) - s.noLocal[id]
	delete(s.noLocal, id)
	if len(ports) > 0 {
		s.noLocal[id] = len(ports)
	}
}
