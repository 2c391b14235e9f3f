package sync

import (
	"fmt"
	"net/netip"
	"slices"
)

// EndpointUse says what becomes of an endpoint on this node.
type EndpointUse uint8

// The uses. An endpoint that finishes gets no new connection, and keeps those that it has where the kernel has it already.
const (
	NotUsed EndpointUse = iota
	GetsConnections
	Finishes
)

// String is the use as one or two words.
func (u EndpointUse) String() string {
	return [...]string{"not used", "in use", "finishing"}[u]
}

// EndpointView is one endpoint of a Service port and what becomes of it.
type EndpointView struct {
	Endpoint
	Use EndpointUse
	// Why says in words why it is used in that way.
	Why string
}

// verdicts says of every endpoint of a port whether it is used on this node, and why. It says of choose what it does, and
// decides nothing.
func verdicts(port ServicePort) []EndpointView {
	views := make([]EndpointView, 0, len(port.Endpoints))
	byFamily := map[bool]choice{}
	for _, e := range port.Endpoints {
		addr := e.Addr.Addr()
		c, known := byFamily[addr.Is4()]
		if !known {
			c = choose(port, addr)
			byFamily[addr.Is4()] = c
		}
		views = append(views, c.verdict(port, e))
	}
	return views
}

// verdict is that of one endpoint of the choice's family.
func (c choice) verdict(port ServicePort, e Endpoint) EndpointView {
	in := func(list []Endpoint) bool {
		return slices.ContainsFunc(list, func(o Endpoint) bool { return o.Addr == e.Addr })
	}
	v := EndpointView{Endpoint: e}
	switch {
	case in(c.use) && e.Maintenance:
		v.Use, v.Why = Finishes, "weight 0 (maintenance): it keeps the connections that it has"
	case in(c.use):
		v.Use, v.Why = GetsConnections, c.usedBecause(port, e)
	case in(c.quiet):
		v.Use, v.Why = Finishes, "it terminates, and others are ready: it keeps the connections that it has"
	default:
		v.Why = unusedBecause(port, c, e)
	}
	return v
}

func (c choice) usedBecause(port ServicePort, e Endpoint) string {
	why := "ready"
	if !e.Ready {
		why = "it terminates and still serves, and no other is ready"
	}
	switch {
	case c.internal:
		why += "; for clients on this node, since none that could be used is on it (externalTrafficPolicy: Local)"
	case port.Policy == Local && !e.Ready:
		why = "it terminates and still serves, and none on this node is ready"
	case port.Policy == Local:
		why += ", on this node"
	case !e.Ready:
	case e.NodeHint == Here && allHinted(port, e.Addr.Addr(), func(e Endpoint) Hint { return e.NodeHint }):
		why += ", meant for this node (topology hints)"
	case e.ZoneHint == Here && allHinted(port, e.Addr.Addr(), func(e Endpoint) Hint { return e.ZoneHint }):
		why += ", meant for this node's zone (topology hints)"
	}
	return why
}

// allHinted reports whether every ready endpoint of a family has a hint of a kind: else hints of that kind do not count.
func allHinted(port ServicePort, family netip.Addr, hint func(Endpoint) Hint) bool {
	return !slices.ContainsFunc(port.Endpoints, func(e Endpoint) bool {
		return e.Addr.Addr().Is4() == family.Is4() && e.Ready && hint(e) == NoHint
	})
}

func unusedBecause(port ServicePort, c choice, e Endpoint) string {
	switch {
	case e.Terminating && !e.Serving:
		return "it terminates and fails its readiness"
	case !e.Ready && !e.Terminating:
		return "not ready"
	case port.Policy == Local && !c.internal && !e.Local:
		return "on another node (externalTrafficPolicy: Local)"
	case !e.Ready:
		return "it terminates, and others are ready"
	case e.NodeHint == Elsewhere && slices.ContainsFunc(c.use, func(o Endpoint) bool { return o.NodeHint == Here }):
		return "meant for other nodes (topology hints)"
	case e.ZoneHint == Elsewhere:
		return "meant for other zones (topology hints)"
	}
	return fmt.Sprintf("not chosen (ready %t, serving %t, terminating %t)", e.Ready, e.Serving, e.Terminating)
}
