package sync

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// candidate is an endpoint as upstream sees it, with the names of its hints.
type candidate struct {
	addr                               netip.AddrPort
	local, ready, serving, terminating bool
	forNodes, forZones                 []string
}

// here is the node of the oracle: what choose is told of it are hints, not names.
type here struct{ node, zone string }

// oracle restates kubernetes pkg/proxy/topology.go (CategorizeEndpoints) as sentences, each of which looks at all endpoints
// again. kube-proxy runs once for each family, so it is given those of one.
type oracle struct {
	here
	all []candidate
}

func (o oracle) those(is ...func(candidate) bool) []netip.AddrPort {
	var found []netip.AddrPort
	for _, c := range o.all {
		if !slices.ContainsFunc(is, func(is func(candidate) bool) bool { return !is(c) }) {
			found = append(found, c.addr)
		}
	}
	return found
}

func isReady(c candidate) bool   { return c.ready }
func isLocal(c candidate) bool   { return c.local }
func isLeaving(c candidate) bool { return c.serving && c.terminating }

func (h here) meantForNode(c candidate) bool { return slices.Contains(c.forNodes, h.node) }
func (h here) meantForZone(c candidate) bool {
	return h.zone != "" && slices.Contains(c.forZones, h.zone)
}

// nodeHintsCount: every ready endpoint is meant for some nodes, and one of them for this one.
func (o oracle) nodeHintsCount() bool {
	hinted := func(c candidate) bool { return len(c.forNodes) > 0 }
	return len(o.those(isReady, hinted)) == len(o.those(isReady)) && len(o.those(isReady, o.meantForNode)) > 0
}

// zoneHintsCount is the same for zones.
func (o oracle) zoneHintsCount() bool {
	hinted := func(c candidate) bool { return len(c.forZones) > 0 }
	return len(o.those(isReady, hinted)) == len(o.those(isReady)) && len(o.those(isReady, o.meantForZone)) > 0
}

// cluster is what policy Cluster uses.
func (o oracle) cluster() []netip.AddrPort {
	switch {
	case len(o.those(isReady)) == 0:
		return o.those(isLeaving)
	case o.nodeHintsCount():
		return o.those(isReady, o.meantForNode)
	case o.zoneHintsCount():
		return o.those(isReady, o.meantForZone)
	}
	return o.those(isReady)
}

// local is what policy Local uses.
func (o oracle) local() []netip.AddrPort {
	if found := o.those(isLocal, isReady); len(found) > 0 {
		return found
	}
	return o.those(isLocal, isLeaving)
}

func TestChoiceIsThatOfCategorizeEndpoints(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			o, port := drawChoice(t)
			for _, addr := range []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")} {
				compareChoice(t, o.of(addr), port, addr)
				o.of(addr).count(seen)
			}
		}
	})
	for _, kind := range []string{"node hints", "zone hints", "hints ignored", "last resort", "local last resort", "nothing"} {
		if seen[kind] == 0 {
			t.Errorf("no case of %s was drawn: %v", kind, seen)
		}
	}
}

func compareChoice(t *rapid.T, o oracle, port ServicePort, addr netip.Addr) {
	t.Helper()
	port.Policy = Cluster
	expectChoice(t, "Cluster", choose(port, addr), o.cluster())
	use := o.local()
	if len(use) == 0 {
		use = o.cluster() // for this node and its pods
	}
	port.Policy = Local
	expectChoice(t, "Local", choose(port, addr), use)
}

// of is the oracle for the family of addr.
func (o oracle) of(addr netip.Addr) oracle {
	other := func(c candidate) bool { return c.addr.Addr().Is4() != addr.Is4() }
	return oracle{o.here, slices.DeleteFunc(slices.Clone(o.all), other)}
}

// count notes what kind of case this is, so that a generator that lost one does not go unnoticed.
func (o oracle) count(seen map[string]int) {
	for kind, is := range map[string]bool{
		"node hints":        o.nodeHintsCount(),
		"zone hints":        !o.nodeHintsCount() && o.zoneHintsCount(),
		"hints ignored":     !o.nodeHintsCount() && !o.zoneHintsCount() && len(o.those(isReady, o.meantForZone)) > 0,
		"last resort":       len(o.those(isReady)) == 0 && len(o.those(isLeaving)) > 0,
		"local last resort": len(o.those(isLocal, isReady)) == 0 && len(o.local()) > 0 && len(o.those(isReady)) > 0,
		"nothing":           len(o.cluster()) == 0 && len(o.all) > 0,
	} {
		if is {
			seen[kind]++
		}
	}
}

// expectChoice compares what is used; what is quiet beside it terminates, serves, and is not used.
func expectChoice(t *rapid.T, policy string, got choice, use []netip.AddrPort) {
	t.Helper()
	if diff := cmp.Diff(addrsOf(use), addrsOf(picked(got.use))); diff != "" {
		t.Fatalf("policy %s uses (-oracle +choose):\n%s", policy, diff)
	}
	for _, e := range got.quiet {
		if slices.Contains(use, e.Addr) || e.Ready || !e.Serving || !e.Terminating {
			t.Fatalf("policy %s: %v should not be quiet", policy, e)
		}
	}
}

func picked(endpoints []Endpoint) []netip.AddrPort {
	var list []netip.AddrPort
	for _, e := range endpoints {
		list = append(list, e.Addr)
	}
	return list
}

// addrsOf is a sorted list for comparison.
func addrsOf(list []netip.AddrPort) []string {
	texts := []string{}
	for _, a := range list {
		texts = append(texts, a.String())
	}
	slices.Sort(texts)
	return texts
}

// drawChoice makes endpoints of both families, for the oracle and for choose. Mostly they are ready and hinted, since one
// that is not decides for all.
func drawChoice(t *rapid.T) (oracle, ServicePort) {
	o := oracle{here: here{node: "node-a", zone: rapid.SampledFrom([]string{"east", "east", "east", ""}).Draw(t, "zone")}}
	often := rapid.IntRange(0, 9).Draw(t, "ready out of ten")
	hinted := rapid.SampledFrom([]int{0, 7, 10}).Draw(t, "hinted out of ten")
	outOfTen := func(n int, label string) bool { return rapid.IntRange(0, 9).Draw(t, label) < n }
	var port ServicePort
	for i := range rapid.IntRange(0, 12).Draw(t, "endpoints") {
		addr := netip.AddrFrom4([4]byte{10, 244, 0, byte(i)})
		if rapid.Bool().Draw(t, "is IPv6") {
			addr = netip.MustParseAddr(fmt.Sprintf("fd44::%x", i))
		}
		c := candidate{
			addr: netip.AddrPortFrom(addr, 8080), local: rapid.Bool().Draw(t, "local"),
			ready: outOfTen(often, "ready"), serving: rapid.Bool().Draw(t, "serving"), terminating: rapid.Bool().Draw(t, "terminating"),
		}
		if outOfTen(hinted, "node hints") {
			c.forNodes = rapid.SampledFrom([][]string{{"node-a"}, {"node-b"}, {"node-b", "node-a"}, {"node-b", "node-c"}}).Draw(t, "for nodes")
		}
		if outOfTen(hinted, "zone hints") {
			c.forZones = rapid.SampledFrom([][]string{{"east"}, {"west"}, {"west", "east"}, {"west", "north"}}).Draw(t, "for zones")
		}
		o.all = append(o.all, c)
		port.Endpoints = append(port.Endpoints, o.endpoint(c))
	}
	return o, port
}

// endpoint is the candidate as the sources describe it.
func (h here) endpoint(c candidate) Endpoint {
	said := func(names []string, meant bool) Hint {
		switch {
		case meant:
			return Here
		case len(names) > 0:
			return Elsewhere
		}
		return NoHint
	}
	return Endpoint{
		Addr: c.addr, Local: c.local, Ready: c.ready, Serving: c.serving, Terminating: c.terminating,
		NodeHint: said(c.forNodes, h.meantForNode(c)), ZoneHint: said(c.forZones, h.meantForZone(c)),
	}
}
