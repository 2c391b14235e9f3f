//go:build kernel

package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// held are connections by who answers on them.
type held map[net.Conn]string

// hold opens connections to all addresses: over TCP and SCTP to both pods, over UDP to one.
func (r *rig) hold(t *testing.T) held {
	t.Helper()
	h := held{}
	for _, addr := range r.all() {
		for protocol, n := range map[string]int{topo.TCP: 2, topo.SCTP: 2, topo.UDP: 1} {
			for range n {
				c, err := r.Client.Dial(t.Context(), protocol, at(addr))
				must(t, err)
				t.Cleanup(func() { _ = c.Close() })
				h[c] = askOn(t, c)
			}
		}
	}
	return h
}

// live requires that everybody is answered by whom he was answered before.
func (h held) live(t *testing.T) {
	t.Helper()
	for c, pod := range h {
		if got := askOn(t, c); got != pod {
			t.Errorf("the connection to %s %s is answered by %s, not %s", c.RemoteAddr().Network(), c.RemoteAddr(), got, pod)
		}
	}
}

// Whatever ends the agent and whoever ran before it: connections live on where our table did, those to a pod that departs too, and no virtual server
// nor real server is written, since all that is there is taken over.
func TestConnectionsOutliveTheAgentAndWhateverVersionRanBefore(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	s := agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort},
		{Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
		{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP},
	}}
	departs := r.pod(t, r.Node2, "departs", topo.WithSCTP())
	r.serve(t, s, agent.Ready(departs, r.Node2))
	r.start(t, bothNetworks)
	open := held{}
	for _, addr := range r.all() {
		c, pod := r.dial(t, at(addr))
		open[c] = pod
	}
	must(t, r.Endpoints(s, append(r.both(), agent.Ready(departs, r.Node2))))
	eventually(t, "all are served", func() error { return r.hasReals(t, 3) })
	must(t, r.Endpoints(s, r.both()))
	drains := func() error { return r.hasWeight(t, departs, key(r.Node1.A4, frontend.TCP), 0) }
	eventually(t, "it drains", drains)
	eventually(t, "over UDP it is gone", func() error { return r.uses(t, topo.UDP, r.Node1.B6, 2) })
	for c, pod := range r.hold(t) {
		open[c] = pod
	}
	all := maps.Clone(open)
	state, err := r.rules(t.Context())
	must(t, err)

	for _, end := range []struct {
		name string
		end  func(*testing.T)
		// found is the nftables table that the next one finds, instead of what this one left.
		found func() string
	}{
		{"kill -9", r.kill, nil},
		{"SIGTERM", r.stop, nil},
		{"an agent with layout 1", r.stop, func() string { return tableOf(t, 1, state.Rules) }},
		{"an agent with layout 2", r.kill, func() string { return tableOf(t, 2, state.Rules) }},
		{"an agent with layout 3", r.stop, func() string { return tableOf(t, 3, state.Rules) }},
		{"an agent with layout 4", r.kill, func() string { return tableOf(t, 4, state.Rules) }},
		{"an agent with a layout to come", r.kill, func() string {
			return strings.ReplaceAll(r.run(t, "", "nft", "list", "table", string(filter.Family), filter.Name), "layout 5, ", "layout 99, ")
		}},
		{"one that lost its table", r.stop, func() string { return "" }},
	} {
		t.Run(end.name, func(t *testing.T) {
			end.end(t)
			open.live(t)
			r.served(t)
			if end.found != nil {
				text := end.found()
				r.run(t, "add table inet kube-ipvs\ndelete table inet kube-ipvs\n"+text, "nft", "-f", "-")
				if text == "" {
					// Without a chain of type nat the kernel masquerades nothing, connections that are there included. Whoever sends meanwhile,
					// be it a delayed acknowledgement, does so from his own address, and the pod resets what it does not know (Linux 6.1 and 6.12).
					open = held{}
				}
				open.live(t)
			}
			r.start(t, bothNetworks)
			r.wroteNoServer(t)
			now, err := r.rules(t.Context())
			must(t, err)
			if !now.Intact || !now.Rules.Equal(state.Rules) {
				t.Errorf("our nftables table is %+v\nand was %+v", now, state)
			}
			open.live(t)
			r.served(t)
			if len(open) > 0 {
				must(t, drains())
			}
		})
	}
	for c := range all {
		_ = c.Close() // some of them are cut
	}
	r.awaitWeight(t, departs, -1)
}

// wroteNoServer requires that the agent has written nothing to IPVS since its start.
func (r *rig) wroteNoServer(t *testing.T) {
	t.Helper()
	all, err := r.agent.Metrics(t.Context())
	must(t, err)
	for name, value := range all {
		if strings.HasPrefix(name, "kube_ipvs_kernel_operations_total{") && value > 0 {
			t.Errorf("%s is %v", name, value)
		}
	}
}

// tableOf is what an agent of an older layout, whose text does not change any more, would have written for the same rules.
func tableOf(t *testing.T, layout int, rules filter.Rules) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("testdata/layout-%d.nft", layout))
	must(t, err)
	var b strings.Builder
	b.Write(text)
	family := func(addr netip.Addr) string {
		if addr.Is4() {
			return "ipv4"
		}
		return "ipv6"
	}
	for k := range rules.Owned {
		fmt.Fprintf(&b, "add element inet kube-ipvs owned-%s { %s . %s . %d }\n", family(k.Addr), k.Addr, k.Protocol, k.Port)
	}
	for k := range rules.Masquerade {
		verdict := ""
		if layout > 1 {
			verdict = ": goto masquerade-all"
		}
		fmt.Fprintf(&b, "add element inet kube-ipvs masquerade-%s-%s { %s . %d %s }\n", family(k.Addr), k.Protocol, k.Addr, k.Port, verdict)
	}
	return b.String()
}
