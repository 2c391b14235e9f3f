//go:build kernel

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// localPort is that of a Service like web, with policy Local.
const localPort = 30081

// way is how a client far away is reached in one family. Its router is node 2, as the router of network B:
//
//	far ── 10.9.0.0/24 ── node 2 ── network B ── node 1 ── network A ── client, to whom the default route of node 1 leads
//
// The client forwards nothing: an answer that leaves by the default route is lost.
type way struct {
	far      netip.Prefix // the client's address
	router   netip.Prefix // its router's there
	asked    netip.Addr   // of node 1, on network B
	network  netip.Prefix // B
	back     netip.Addr   // the router's on network B
	defaults netip.Addr   // the gateway of node 1's default route, on network A
}

func (r *rig) ways() []way {
	p := netip.MustParsePrefix
	return []way{
		{p("10.9.0.2/24"), p("10.9.0.1/24"), r.Node1.B4, p("10.2.0.0/24"), r.Node2.B4, r.Client.A4},
		{p("fd09::2/64"), p("fd09::1/64"), r.Node1.B6, p("fd02::/64"), r.Node2.B6, r.Client.A6},
	}
}

// farAway makes a host of its own behind node 2. It is made as a pod is, and asks by another address than a pod's.
func (r *rig) farAway(t *testing.T) *topo.Host {
	t.Helper()
	far := r.pod(t, r.Node2, "far").Host
	for _, w := range r.ways() {
		must(t, r.Node2.AddAddress(topo.DevPods, w.router))
		must(t, far.AddAddress("eth0", w.far))
		must(t, r.Node1.AddRoute(netip.PrefixFrom(w.asked, 0).Masked(), w.defaults))
	}
	return far
}

// answerByNetworkB does for one family what docs/recipes.md says, and returns what takes the rule away:
//
//	ip route add default via BACK table 102
//	ip route add NETWORK dev netb table 102
//	ip rule add from ASKED lookup 102
func (r *rig) answerByNetworkB(t *testing.T, w way) (undo func()) {
	t.Helper()
	const table = 102
	rule := netlink.NewRule()
	rule.Src, rule.Table, rule.Family = ipNet(netip.PrefixFrom(w.asked, w.asked.BitLen())), table, netlink.FAMILY_V4
	if w.asked.Is6() {
		rule.Family = netlink.FAMILY_V6
	}
	must(t, r.Node1.Do(func() error {
		link, err := netlink.LinkByName(topo.DevB)
		if err != nil {
			return err
		}
		// RouteReplace: the table stays when a rule is taken away.
		return errors.Join(
			netlink.RouteReplace(&netlink.Route{Dst: ipNet(w.network), LinkIndex: link.Attrs().Index, Table: table}),
			netlink.RouteReplace(&netlink.Route{Dst: ipNet(netip.PrefixFrom(w.back, 0).Masked()), Gw: w.back.AsSlice(), Table: table}),
			netlink.RuleAdd(rule),
		)
	}))
	return func() {
		t.Helper()
		must(t, r.Node1.Do(func() error { return netlink.RuleDel(rule) }))
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// lost requires that the far client hears nothing from either Service.
func (r *rig) lost(t *testing.T, far *topo.Host, w way) {
	t.Helper()
	var all sync.WaitGroup
	for _, port := range []uint16{nodePort, localPort} {
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			all.Go(func() {
				a, err := topo.AskAs(t.Context(), far, netip.AddrPortFrom(w.far.Addr(), 0), protocol, netip.AddrPortFrom(w.asked, port))
				if late, ok := errors.AsType[net.Error](err); !ok || !late.Timeout() {
					t.Errorf("%s to %s port %d: %v, %v; want silence", protocol, w.asked, port, a, err)
				}
			})
		}
	}
	all.Wait()
}

// askFar sends requests of the far client and returns how often each pod answered, and whom they saw. The first that is not
// answered ends the test: each would take its time to fail.
func (r *rig) askFar(t *testing.T, far *topo.Host, w way, protocol string, port uint16, n int) (pods map[string]int, clients map[netip.Addr]int) {
	t.Helper()
	pods, clients = map[string]int{}, map[netip.Addr]int{}
	for range n {
		a, err := topo.AskAs(t.Context(), far, netip.AddrPortFrom(w.far.Addr(), 0), protocol, netip.AddrPortFrom(w.asked, port))
		must(t, err)
		pods[a.Pod]++
		clients[a.Client]++
	}
	return pods, clients
}

// answered requires that the far client is answered by both pods under policy Cluster, which see the node, and under
// policy Local by that of the node, which sees the client.
func (r *rig) answered(t *testing.T, far *topo.Host, w way) {
	t.Helper()
	const n = 4
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		pods, clients := r.askFar(t, far, w, protocol, nodePort, n)
		if pods["web-1"] != n/2 || pods["web-2"] != n/2 || clients[w.far.Addr()] != 0 {
			t.Errorf("%s to %s, policy Cluster: answered by %v, who saw %v", protocol, w.asked, pods, clients)
		}
		pods, clients = r.askFar(t, far, w, protocol, localPort, n)
		if pods["web-1"] != n || clients[w.far.Addr()] != n {
			t.Errorf("%s to %s, policy Local: answered by %v, who saw %v", protocol, w.asked, pods, clients)
		}
	}
}

// docs/recipes.md, "Answers leave by the network that they came in by".
func TestPolicyRoutingByTheAddressThatWasAskedBringsAnswersBackByTheirNetwork(t *testing.T) {
	r := newRig(t)
	far := r.farAway(t)
	local := annotated("local", localPort)
	local.Policy = corev1.ServiceExternalTrafficPolicyLocal
	r.serve(t, annotated("web", nodePort), r.both()...)
	r.serve(t, local, r.both()...)
	r.start(t, bothNetworks)
	r.served(t)

	for _, w := range r.ways() {
		t.Run("to "+w.asked.String(), func(t *testing.T) { r.testWayBack(t, far, w) })
	}
}

func (r *rig) testWayBack(t *testing.T, far *topo.Host, w way) {
	t.Run("without a rule answers are lost by the default route", func(t *testing.T) { r.lost(t, far, w) })
	undo := r.answerByNetworkB(t, w)
	if !t.Run("with a rule from the address they come back", func(t *testing.T) { r.answered(t, far, w) }) {
		return
	}
	if w.asked.Is4() { // rp_filter is of IPv4
		for _, filter := range []string{"1", "2"} {
			must(t, r.Node1.Sysctl("net/ipv4/conf/"+topo.DevB+"/rp_filter", filter))
			t.Run("and pass rp_filter "+filter, func(t *testing.T) { r.answered(t, far, w) })
		}
		must(t, r.Node1.Sysctl("net/ipv4/conf/"+topo.DevB+"/rp_filter", "0"))
	}
	must(t, r.Node1.Sysctl("net/ipv4/vs/snat_reroute", "0"))
	t.Run("but not where IPVS does not route them anew", func(t *testing.T) { r.lost(t, far, w) })
	must(t, r.Node1.Sysctl("net/ipv4/vs/snat_reroute", "1"))
	undo()
	t.Run("and are lost again when the rule is gone", func(t *testing.T) { r.lost(t, far, w) })
}
