//go:build kernel

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Agents that are named node1 and node2, each on its node, with the same Services.
func TestNodesBeginWithDifferentEndpoints(t *testing.T) {
	r := newRig(t)
	must(t, r.Node(r.Node2))
	endpoints := r.both()
	for _, name := range []string{"web-3", "web-4"} {
		endpoints = append(endpoints, agent.Ready(r.pod(t, r.Node1, name), r.Node1))
	}
	r.serve(t, web(), endpoints...)
	r.start(t, bothNetworks)
	second, err := agent.Start(context.WithoutCancel(t.Context()), r.Node2, agent.Options{Dir: r.Dir, StateDir: t.TempDir(), Flags: []string{bothNetworks}})
	must(t, err)
	t.Cleanup(func() { must(t, second.Kill()) })

	differ := 0
	for _, addrs := range [][2]netip.Addr{{r.Node1.A4, r.Node2.A4}, {r.Node1.A6, r.Node2.A6}, {r.Node1.B4, r.Node2.B4}, {r.Node1.B6, r.Node2.B6}} {
		var first [2]string
		var order [2][]string
		for i, node := range []*topo.Host{r.Node1, r.Node2} {
			order[i] = r.order(t, node, addrs[i])
			a, err := topo.Ask(t.Context(), r.Client, topo.TCP, at(addrs[i]))
			must(t, err)
			first[i] = a.Pod
		}
		t.Logf("%v begin with %v; the kernels have %v", addrs, first, order)
		if slices.Equal(order[0], order[1]) {
			t.Errorf("both nodes have %v for %v", order[0], addrs)
		}
		if first[0] != first[1] {
			differ++
		}
	}
	if differ == 0 { // one in four is the same by chance
		t.Error("both nodes begin with the same endpoints on all addresses")
	}
}

// order has the real servers of the node port on an address, as the kernel keeps them.
func (r *rig) order(t *testing.T, node *topo.Host, addr netip.Addr) []string {
	t.Helper()
	list, err := procOf(node, "ip_vs")
	must(t, err)
	var reals []string
	under := ""
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case words[0] == "TCP" || words[0] == "UDP" || words[0] == "SCTP":
			under = words[1]
		case words[0] == "->" && under == procAddress(key(addr, frontend.TCP)):
			reals = append(reals, words[1])
		}
	}
	if len(reals) != 4 {
		t.Fatalf("%s of %s has real servers %v:\n%s", addr, node.Name, reals, list)
	}
	return reals
}

// procAddress is a virtual server as /proc/net/ip_vs has it.
func procAddress(k frontend.Key) string {
	if k.Addr.Is4() {
		b := k.Addr.As4()
		return fmt.Sprintf("%02X%02X%02X%02X:%04X", b[0], b[1], b[2], b[3], k.Port)
	}
	return fmt.Sprintf("[%s]:%04X", k.Addr.StringExpanded(), k.Port)
}
