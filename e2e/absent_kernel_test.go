//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

var counted = regexp.MustCompile(`packets (\d+)`)

// A masqueraded connection of which a packet comes while its address is not on the node is not forgotten. Where the packet is forwarded the
// kernel does so, since it leaves by another device than the one that the connection is masqueraded for, and the pod resets it then.
func TestAConnectionThatSpeaksWhileItsAddressIsAwayLivesOn(t *testing.T) {
	r := newRig(t)
	r.serve(t, annotated("web", nodePort), agent.Ready(r.web1, r.Node1), agent.Ready(r.web2, r.Node2))
	r.start(t, bothNetworks)
	must(t, r.Node1.AddAddress(topo.DevB, fresh4()))
	// Of network B, for nodes reach each other's pods by network A: with a younger IPv6 address there the kernel would masquerade
	// connections with it, and forget them with it.
	other6 := netip.MustParsePrefix("fd02::77/64")
	must(t, r.Node1.AddAddress(topo.DevB, other6))
	away := []netip.Addr{fresh4().Addr(), other6.Addr()}
	r.awaitServing(t, nodePort, append(r.all(), away...)...)
	open := append(r.talks(t, nodePort, away), r.talks(t, nodePort, away)...) // of both pods
	r.run(t, "add table inet comes\nadd chain inet comes in { type filter hook prerouting priority 0; }\n"+
		fmt.Sprintf("add rule inet comes in ip daddr %s tcp dport %d tcp flags psh counter\n", away[0], nodePort)+
		fmt.Sprintf("add rule inet comes in ip6 daddr %s tcp dport %d tcp flags psh counter\n", away[1], nodePort), "nft", "-f", "-")
	must(t, r.hooked(t, false))
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4()))
	must(t, r.Node1.RemoveAddress(topo.DevB, other6))
	eventually(t, "the table has it that an address is away", func() error { return r.hooked(t, true) })
	answers := make([]error, len(open))
	var asking sync.WaitGroup
	for i, talk := range open {
		asking.Go(func() { answers[i] = talk.again() })
	}
	eventually(t, "a request of each connection comes", func() error { return r.cameFor(t, len(open)) })
	must(t, r.Node1.AddAddress(topo.DevB, fresh4()))
	must(t, r.Node1.AddAddress(topo.DevB, other6))
	back := time.Now()
	asking.Wait()
	t.Logf("all were answered %s after their addresses were back", since(back))
	for i, err := range answers {
		if err != nil {
			t.Errorf("%s: %v", open[i].RemoteAddr(), err)
		}
	}
	eventually(t, "the table has it that all are back", func() error { return r.hooked(t, false) })
	goOn(t, open)
	hangUp(t, open)
}

// again asks once more, and waits: what was not acknowledged is sent again after twice the time, two minutes at most.
func (c talk) again() error {
	if err := c.SetDeadline(time.Now().Add(4 * time.Minute)); err != nil {
		return err
	}
	a, err := topo.AskOn(c)
	if err == nil && a.Pod != c.pod {
		err = fmt.Errorf("%s answers the connection of %s", a.Pod, c.pod)
	}
	return err
}

// hooked is nil if our table looks at what is forwarded, or does not.
func (r *rig) hooked(t *testing.T, want bool) error {
	t.Helper()
	if hooked := strings.Contains(r.run(t, "", "nft", "list", "table", "inet", "kube-ipvs"), "hook forward"); hooked != want {
		return fmt.Errorf("a hook at forward: %v", hooked)
	}
	return nil
}

// cameFor is nil once so many requests came to the addresses that are away, sent again or not, of both families.
func (r *rig) cameFor(t *testing.T, connections int) error {
	t.Helper()
	listed := r.run(t, "", "nft", "list", "chain", "inet", "comes", "in")
	all := counted.FindAllStringSubmatch(listed, -1)
	for _, m := range all {
		n, err := strconv.Atoi(m[1])
		must(t, err)
		if n < connections/2 {
			return fmt.Errorf("%d requests came", n)
		}
	}
	if len(all) != 2 {
		return fmt.Errorf("nft says\n%s", listed)
	}
	return nil
}
