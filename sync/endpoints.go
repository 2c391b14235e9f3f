package sync

import (
	"net/netip"
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
// CategorizeEndpoints; KEP-1669): ready ones, and while there is none, those that terminate but still serve. Policy
// Local looks at the node's own endpoints only. What fails its readiness while it terminates is never used.
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
	return choice{use: ready, quiet: terminating}
}
