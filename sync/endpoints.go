package sync

import (
	"net/netip"
	"slices"
)

// choice is what becomes of the endpoints of a Service port on frontends of one family.
type choice struct {
	// use gets new connections.
	use []Endpoint
	// quiet finishes what it has: it terminates, still serves, and others are there for new connections. It has no
	// deadline but its own.
	quiet []Endpoint
}

// choose picks the endpoints of a port for the family of addr, as kube-proxy does (kubernetes pkg/proxy/topology.go,
// CategorizeEndpoints; KEP-1669, KEP-2433, KEP-3015): ready ones that the hints leave, and while there is none, those that
// terminate but still serve, whatever their hints. Policy Local looks at the node's own endpoints only, and at no hints.
// What fails its readiness while it terminates is never used.
func choose(port ServicePort, addr netip.Addr) choice {
	var ready, terminating []Endpoint
	for _, e := range port.Endpoints {
		switch {
		case e.Addr.Addr().Is4() != addr.Is4():
		case port.Policy == Local && !e.Local:
		case e.Ready:
			ready = append(ready, e)
		case e.Serving && e.Terminating:
			terminating = append(terminating, e)
		}
	}
	if len(ready) == 0 {
		return choice{use: terminating}
	}
	if port.Policy == Cluster {
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
