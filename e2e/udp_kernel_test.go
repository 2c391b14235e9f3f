//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// udpPause is between two datagrams of a flow: short enough that the kernel never forgets the flow.
const udpPause = 20 * time.Millisecond

func udp(name string, port int32) agent.Service {
	return agent.Service{Name: name, Ports: []agent.Port{{NodePort: port, Protocol: corev1.ProtocolUDP}}}
}

// flows start a number of flows from the client to each address. They end with the test.
func (r *rig) flows(t *testing.T, n int, to ...netip.AddrPort) []*topo.Flow {
	t.Helper()
	var flows []*topo.Flow
	for range n {
		for _, addr := range to {
			f, err := r.Client.StartFlow(t.Context(), addr, udpPause)
			must(t, err)
			t.Cleanup(func() { f.Stop() })
			flows = append(flows, f)
		}
	}
	return flows
}

// awaitFlows returns when each flow is answered by one of the pods.
func awaitFlows(t *testing.T, flows []*topo.Flow, pods ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the flows are answered by %v", pods), func() error {
		for _, f := range flows {
			if last := f.Last(); !slices.Contains(pods, last) {
				return fmt.Errorf("the flow from %s is answered by %q: %v", f.Source(), last, f.Tally())
			}
		}
		return nil
	})
}

// timeEntries makes node 1 note when each conntrack entry was made. Its conntrack must be in use.
func (r *rig) timeEntries(t *testing.T) {
	t.Helper()
	must(t, r.Node1.Sysctl("net.netfilter.nf_conntrack_timestamp", "1"))
}

// starts are the times at which the UDP entries of node 1 were made, by client.
func (r *rig) starts(t *testing.T) map[netip.AddrPort]uint64 {
	t.Helper()
	starts := map[netip.AddrPort]uint64{}
	must(t, r.Node1.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			all, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return err
			}
			for _, e := range all {
				if client, ok := netip.AddrFromSlice(e.Forward.SrcIP); ok && e.Forward.Protocol == unix.IPPROTO_UDP {
					starts[netip.AddrPortFrom(client.Unmap(), e.Forward.SrcPort)] = e.TimeStart
				}
			}
		}
		return nil
	}))
	return starts
}

// entries are the starts of the flows' entries: another start is another entry.
func (r *rig) entries(t *testing.T, flows []*topo.Flow) map[netip.AddrPort]uint64 {
	t.Helper()
	starts, found := r.starts(t), map[netip.AddrPort]uint64{}
	for _, f := range flows {
		if starts[f.Source()] == 0 {
			t.Errorf("the flow from %s has no entry, or one without a time: %v", f.Source(), f.Tally())
		}
		found[f.Source()] = starts[f.Source()]
	}
	return found
}

// afterALook makes a change and returns when the agent has looked for stale flows to the node port since: it has deleted
// the entries of two that expect their answers from a pod that never was.
func (r *rig) afterALook(t *testing.T, change func()) {
	t.Helper()
	for _, f := range []struct {
		family              netlink.InetFamily
		client, to, answers netip.Addr
	}{
		{unix.AF_INET, r.Client.A4, r.Node1.A4, netip.MustParseAddr("10.244.2.99")},
		{unix.AF_INET6, r.Client.A6, r.Node1.A6, netip.MustParseAddr("fd44:2::99")},
	} {
		stale := &netlink.ConntrackFlow{FamilyType: uint8(f.family), TimeOut: 600}
		stale.Forward = netlink.IPTuple{
			Protocol: unix.IPPROTO_UDP, SrcIP: f.client.AsSlice(), SrcPort: stalePort, DstIP: f.to.AsSlice(), DstPort: nodePort,
		}
		stale.Reverse = netlink.IPTuple{
			Protocol: unix.IPPROTO_UDP, SrcIP: f.answers.AsSlice(), SrcPort: topo.Port, DstIP: f.to.AsSlice(), DstPort: stalePort,
		}
		must(t, r.Node1.Do(func() error { return netlink.ConntrackCreate(netlink.ConntrackTable, f.family, stale) }))
	}
	change()
	eventually(t, "the agent looks for stale flows", func() error {
		starts := r.starts(t)
		for _, client := range []netip.Addr{r.Client.A4, r.Client.A6} {
			if _, there := starts[netip.AddrPortFrom(client, stalePort)]; there {
				return fmt.Errorf("that of %s is still there", client)
			}
		}
		return nil
	})
}

// stalePort is the source port of flows of nobody.
const stalePort = 1234

// noneCut requires that no flow lost a datagram, changed its pod, or has another conntrack entry than before.
func (r *rig) noneCut(t *testing.T, flows []*topo.Flow, before map[netip.AddrPort]uint64) {
	t.Helper()
	after := r.entries(t, flows)
	for _, f := range flows {
		if tally := f.Tally(); len(tally.Pods) != 1 || len(tally.Failures) > 0 {
			t.Errorf("the flow from %s: %v", f.Source(), tally)
		}
		if after[f.Source()] != before[f.Source()] {
			t.Errorf("the flow from %s has another conntrack entry, %d and not %d", f.Source(), after[f.Source()], before[f.Source()])
		}
	}
}

func TestUDPFlowsLeaveARemovedPodAndNoOther(t *testing.T) {
	r := newRig(t)
	other4, other6 := netip.MustParsePrefix("10.2.0.99/24"), netip.MustParsePrefix("fd02::99/64")
	must(t, r.Node1.AddAddress(topo.DevB, other4))
	must(t, r.Node1.AddAddress(topo.DevB, other6))
	flags := []string{"--nodeport-addresses=10.1.0.0/24,10.2.0.10/32,fd01::/64,fd02::10/128"}
	s, beside := udp("web", nodePort), udp("beside", nodePort+1)
	r.serve(t, s, r.both()...)
	r.serve(t, beside, r.both()...)
	r.start(t, flags...)
	r.timeEntries(t)

	for _, addr := range []netip.Addr{other4.Addr(), other6.Addr()} {
		t.Cleanup(r.listen(t, topo.UDP, addr))
	}
	host := r.flows(t, 1, at(other4.Addr()), at(other6.Addr())) // the same port on addresses that are not chosen
	awaitFlows(t, host, "host")
	alive := r.flows(t, 2, at(r.Node1.A4), at(r.Node1.B6)) // two: one to each pod
	awaitFlows(t, alive, "web-1", "web-2")
	flows := slices.Concat(host, alive)
	before := r.entries(t, flows)

	third := r.pod(t, r.Node2, "web-3")
	addThird := func(t *testing.T) {
		must(t, r.Endpoints(s, append(r.both(), agent.Ready(third, r.Node2))))
		eventually(t, "web-3 is served", func() error { return r.hasWeight(t, third, key(r.Node1.B6, frontend.UDP), 1) })
	}
	t.Run("those of a removed pod lose one datagram each at most, the others none", func(t *testing.T) {
		addThird(t)
		passing := r.flows(t, 6, at(r.Node1.A4), at(r.Node1.B6))
		awaitFlows(t, passing, "web-1", "web-2", "web-3")
		moving := slices.DeleteFunc(passing, func(f *topo.Flow) bool { return f.Last() != "web-3" })
		if len(moving) < 2 {
			t.Fatalf("%d flows to web-3", len(moving))
		}
		r.afterALook(t, func() { must(t, r.Endpoints(s, r.both())) })
		awaitFlows(t, moving, "web-1", "web-2")
		for _, f := range moving {
			if tally := f.Stop(); len(tally.Failures) > 1 {
				t.Errorf("the flow from %s: %v", f.Source(), tally)
			}
		}
		r.noneCut(t, flows, before)
	})
	t.Run("none when a pod terminates and still serves, and another one is removed", func(t *testing.T) {
		addThird(t)
		r.afterALook(t, func() { must(t, r.Endpoints(s, []agent.Endpoint{r.both()[0], agent.Terminating(r.web2, r.Node2)})) })
		eventually(t, "web-2 gets nothing new", func() error { return r.hasWeight(t, r.web2, key(r.Node1.A4, frontend.UDP), 0) })
		must(t, r.Endpoints(s, r.both()))
		eventually(t, "web-2 is back", func() error { return r.hasWeight(t, r.web2, key(r.Node1.A4, frontend.UDP), 1) })
		r.noneCut(t, flows, before)
	})
	t.Run("none when another Service loses a pod, goes and comes back", func(t *testing.T) {
		to := netip.AddrPortFrom(r.Node1.A4, nodePort+1)
		moving := r.flows(t, 1, to)
		awaitFlows(t, moving, "web-1", "web-2")
		must(t, r.Endpoints(beside, r.both()[:1]))
		awaitFlows(t, moving, "web-1")
		must(t, r.Remove(beside))
		awaitFlows(t, moving, "") // refused
		r.serve(t, beside, r.both()[1:]...)
		awaitFlows(t, moving, "web-2")
		r.noneCut(t, flows, before)
	})
	t.Run("none when the agent restarts or is killed", func(t *testing.T) {
		for _, end := range []func(*testing.T){r.stop, r.kill} {
			end(t)
			r.start(t, flags...)
			r.noneCut(t, flows, before)
		}
	})
}

func TestUDPFlowsFromBeforeTheirServiceReachItOnceItIsThere(t *testing.T) {
	r := newRig(t)
	r.start(t, bothNetworks)
	// The node refuses them and remembers each as a flow to itself.
	flows := r.flows(t, 1, at(r.Node1.A4), at(r.Node1.B4), at(r.Node1.A6), at(r.Node1.B6))
	eventually(t, "the node has refused each flow", func() error {
		for _, f := range flows {
			if tally := f.Tally(); len(tally.Failures) < 2 {
				return fmt.Errorf("the flow from %s: %v", f.Source(), tally)
			}
		}
		return nil
	})
	s := udp("web", nodePort)
	r.serve(t, s, r.both()[1:]...)
	awaitFlows(t, flows, "web-2")

	must(t, r.Remove(s))
	awaitFlows(t, flows, "")
	r.serve(t, s, r.both()[:1]...) // a pod of this node, whose answers come through it in any case
	awaitFlows(t, flows, "web-1")
}

// otherProxy sends what comes to the node port of network A to web-2, as a proxy without IPVS does.
const otherProxy = `table inet proxy {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		ip daddr 10.1.0.10 udp dport 30080 dnat ip to 10.244.2.2:8080
		ip6 daddr fd01::10 udp dport 30080 dnat ip6 to [fd44:2::2]:8080
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		udp dport 8080 masquerade
	}
}
`

func TestUDPFlowsThatAnotherProxySentToAPodStayThereUntilItIsRemoved(t *testing.T) {
	r := newRig(t)
	r.run(t, otherProxy, "nft", "-f", "-")
	r.timeEntries(t)
	flows := r.flows(t, 1, at(r.Node1.A4), at(r.Node1.A6))
	awaitFlows(t, flows, "web-2")
	before := r.entries(t, flows)

	s := udp("web", nodePort)
	r.serve(t, s, r.both()...)
	r.start(t, bothNetworks)
	r.run(t, "", "nft", "delete", "table", "inet", "proxy")
	r.noneCut(t, flows, before)

	must(t, r.Endpoints(s, r.both()[:1]))
	awaitFlows(t, flows, "web-1")
	for _, f := range flows {
		if tally := f.Stop(); len(tally.Failures) > 1 {
			t.Errorf("the flow from %s: %v", f.Source(), tally)
		}
	}
}
