package sync

import (
	"fmt"
	"net/netip"
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
	byFamily := map[bool]*grounds{}
	for _, e := range port.Endpoints {
		addr := e.Addr.Addr()
		g := byFamily[addr.Is4()]
		if g == nil {
			g = newGrounds(port, addr)
			byFamily[addr.Is4()] = g
		}
		views = append(views, g.verdict(e))
	}
	return views
}

// grounds are what the verdicts about the endpoints of one family rest on: found once, since a port may have thousands.
type grounds struct {
	policy   TrafficPolicy
	internal bool // see choice
	uses     map[netip.AddrPort]EndpointUse
	// Every ready endpoint has a hint of the kind: else hints of that kind do not count.
	nodeHints, zoneHints bool
	nodeChosen           bool // one that is used is meant for this node
}

func newGrounds(port ServicePort, family netip.Addr) *grounds {
	c := choose(port, family)
	g := &grounds{
		policy: port.Policy, internal: c.internal, nodeHints: true, zoneHints: true,
		uses: make(map[netip.AddrPort]EndpointUse, len(c.use)+len(c.quiet)),
	}
	for i := range c.quiet {
		g.uses[c.quiet[i].Addr] = Finishes
	}
	for i := range c.use {
		g.uses[c.use[i].Addr] = GetsConnections
		g.nodeChosen = g.nodeChosen || c.use[i].NodeHint == Here
	}
	for i := range port.Endpoints {
		if e := &port.Endpoints[i]; e.Ready && e.Addr.Addr().Is4() == family.Is4() {
			g.nodeHints = g.nodeHints && e.NodeHint != NoHint
			g.zoneHints = g.zoneHints && e.ZoneHint != NoHint
		}
	}
	return g
}

// verdict is that of one endpoint of the family.
func (g *grounds) verdict(e Endpoint) EndpointView {
	v := EndpointView{Endpoint: e, Use: g.uses[e.Addr]}
	switch {
	case v.Use == GetsConnections && e.Maintenance:
		v.Use, v.Why = Finishes, "weight 0 (maintenance): it keeps the connections that it has"
	case v.Use == GetsConnections:
		v.Why = g.usedBecause(e)
	case v.Use == Finishes:
		v.Why = "it terminates, and others are ready: it keeps the connections that it has"
	default:
		v.Why = g.unusedBecause(e)
	}
	return v
}

func (g *grounds) usedBecause(e Endpoint) string {
	why := "ready"
	if !e.Ready {
		why = "it terminates and still serves, and no other is ready"
	}
	switch {
	case g.internal:
		why += "; for clients on this node, since none that could be used is on it (externalTrafficPolicy: Local)"
	case g.policy == Local && !e.Ready:
		why = "it terminates and still serves, and none on this node is ready"
	case g.policy == Local:
		why += ", on this node"
	case !e.Ready:
	case e.NodeHint == Here && g.nodeHints:
		why += ", meant for this node (topology hints)"
	case e.ZoneHint == Here && g.zoneHints:
		why += ", meant for this node's zone (topology hints)"
	}
	return why
}

func (g *grounds) unusedBecause(e Endpoint) string {
	switch {
	case e.Terminating && !e.Serving:
		return "it terminates and fails its readiness"
	case !e.Ready && !e.Terminating:
		return "not ready"
	case g.policy == Local && !g.internal && !e.Local:
		return "on another node (externalTrafficPolicy: Local)"
	case !e.Ready:
		return "it terminates, and others are ready"
	case e.NodeHint == Elsewhere && g.nodeChosen:
		return "meant for other nodes (topology hints)"
	case e.ZoneHint == Elsewhere:
		return "meant for other zones (topology hints)"
	}
	return fmt.Sprintf("not chosen (ready %t, serving %t, terminating %t)", e.Ready, e.Serving, e.Terminating)
}
