//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Times of the nodes between which an address moves.
const (
	moveGrace    = 4 * time.Second
	moveDrain    = 2 * time.Second
	movePatience = 3 * time.Second // of the client
)

// virtualAddresses are those that move. Both lie in the networks that both nodes serve.
func virtualAddresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.1.0.100"), netip.MustParseAddr("fd01::100")}
}

func TestAnAddressMovesBetweenNodes(t *testing.T) {
	r := newRig(t)
	must(t, r.Node(r.Node2))
	r.serve(t, web(), r.both()...)
	flags := []string{bothNetworks, neverAudited, fmt.Sprintf("--address-grace=%s", moveGrace), fmt.Sprintf("--drain-timeout=%s", moveDrain)}
	for _, addr := range virtualAddresses() {
		must(t, r.appear(r.Node1, addr))
	}
	r.start(t, flags...)
	r.startSecond(t, flags...)

	t.Run("a flap cuts no connection and writes no virtual server", r.testFlap)
	t.Run("to the other node", func(t *testing.T) { r.testMove(t, r.Node1, r.Node2) })
	t.Run("and back", func(t *testing.T) { r.testMove(t, r.Node2, r.Node1) })
}

// appear gives an address to a node and announces it.
func (r *rig) appear(node *topo.Host, addr netip.Addr) error {
	if err := node.AddVirtualAddress(topo.DevA, addr); err != nil {
		return err
	}
	return node.Announce(topo.DevA, addr)
}

// startSecond runs an agent with the same manifests on node 2.
func (r *rig) startSecond(t *testing.T, flags ...string) {
	t.Helper()
	o := agent.Options{Dir: r.Dir, StateDir: t.TempDir(), Flags: flags}
	a, err := agent.Start(context.WithoutCancel(t.Context()), r.Node2, o)
	must(t, err)
	t.Cleanup(func() {
		if err := a.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the log of the agent on node 2:\n%s", a.Log())
		}
	})
}

func (r *rig) testFlap(t *testing.T) {
	const transactions = `kube_ipvs_nftables_transactions_total{result="done"}`
	before, told := r.operations(t), int(r.metric(t, transactions))
	open := map[netip.Addr]net.Conn{}
	pods := map[netip.Addr]string{}
	for _, addr := range virtualAddresses() {
		open[addr], pods[addr] = r.dial(t, at(addr))
	}
	for range 3 {
		for _, addr := range virtualAddresses() {
			must(t, r.Node1.RemoveVirtualAddress(topo.DevA, addr))
		}
		for _, addr := range virtualAddresses() {
			must(t, r.appear(r.Node1, addr))
		}
		for addr, c := range open {
			if got := askOn(t, c); got != pods[addr] {
				t.Errorf("the connection through %s is answered by %s, not %s", addr, got, pods[addr])
			}
		}
	}
	holds(t, moveGrace+time.Second, "the address is served beyond the grace", func() error {
		return r.movedTo(t, r.Node1)
	})
	for addr, c := range open {
		if got := askOn(t, c); got != pods[addr] {
			t.Errorf("after the grace the connection through %s is answered by %s, not %s", addr, got, pods[addr])
		}
		must(t, c.Close())
	}
	// nftables is told that an address is away, where the agent saw it, and that it is back.
	told = int(r.metric(t, transactions)) - told
	if wrote := r.operations(t) - before - told; wrote != 0 {
		t.Errorf("the flaps cost %d operations on IPVS", wrote)
	}
	if told > 6 {
		t.Errorf("3 flaps cost %d transactions", told)
	}
}

func (r *rig) testMove(t *testing.T, from, to *topo.Host) {
	steady := &topo.Load{From: r.Client, To: at(from.A4), Pause: 50 * time.Millisecond}
	steady.Start(t.Context())
	loads := map[netip.Addr]*topo.Load{}
	open := map[netip.Addr]net.Conn{}
	for _, addr := range virtualAddresses() {
		loads[addr] = &topo.Load{From: r.Client, To: at(addr), Pause: 5 * time.Millisecond, Patience: movePatience}
		open[addr], _ = r.dial(t, at(addr))
		loads[addr].Start(t.Context())
	}
	for _, addr := range virtualAddresses() {
		awaitAnswers(t, loads[addr])
	}

	removed, answered := time.Now(), map[netip.Addr]time.Time{}
	for _, addr := range virtualAddresses() {
		must(t, from.RemoveVirtualAddress(topo.DevA, addr))
	}
	for _, addr := range virtualAddresses() {
		must(t, r.appear(to, addr))
	}
	announced := time.Now()
	for _, addr := range virtualAddresses() {
		answered[addr] = r.awaitAnswer(t, addr)
		took := answered[addr].Sub(announced)
		t.Logf("%s was served by %s %s after the announcement", addr, to.Name, took.Round(time.Millisecond))
		if took > soon {
			t.Errorf("%s was served only after %s", addr, took)
		}
		// The new node does not know the connection, and its TCP says so at once.
		if a, err := topo.AskOn(open[addr]); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection through %s to the old node: %v %v, want it reset", addr, a, err)
		}
	}
	r.awaitGivenUp(t, to, removed)
	noFailure(t, steady)
	for addr, load := range loads {
		failedOnly(t, load.Stop(), addr, removed, answered[addr])
	}
}

// awaitAnswer asks until the new node answers, and returns the time.
func (r *rig) awaitAnswer(t *testing.T, addr netip.Addr) time.Time {
	t.Helper()
	eventually(t, "the new node answers", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), movePatience)
		defer cancel()
		_, err := topo.Ask(ctx, r.Client, topo.TCP, at(addr))
		return err
	})
	return time.Now()
}

// awaitGivenUp returns when the old node has no virtual servers of the virtual addresses left.
func (r *rig) awaitGivenUp(t *testing.T, to *topo.Host, removed time.Time) {
	t.Helper()
	eventually(t, "the new node alone has the virtual servers", func() error { return r.movedTo(t, to) })
	if took := since(removed); took < moveGrace {
		t.Errorf("the old node gave the addresses up after %s, within the grace of %s", took, moveGrace)
	} else {
		t.Logf("the old node gave the addresses up after %s", took)
	}
}

// failedOnly requires that no request failed but between the removal of an address and the first answer of the new node.
func failedOnly(t *testing.T, tally topo.Tally, addr netip.Addr, removed, answered time.Time) {
	t.Helper()
	t.Logf("%s: %v", addr, tally)
	for _, f := range tally.Failures {
		if f.At.Before(removed.Add(-movePatience)) || f.At.After(answered) {
			t.Errorf("%s: a request failed that was sent %s after the removal and %s after the new node's first answer: %v",
				addr, f.At.Sub(removed), f.At.Sub(answered), f.Err)
		}
	}
}

// movedTo is nil if a node has the virtual servers of the virtual addresses, and the other has not.
func (r *rig) movedTo(t *testing.T, node *topo.Host) error {
	t.Helper()
	for _, host := range []*topo.Host{r.Node1, r.Node2} {
		table, err := agent.Table(t.Context(), host)
		if err != nil {
			return err
		}
		for _, addr := range virtualAddresses() {
			if _, served := table[key(addr, frontend.TCP)]; served != (host == node) {
				return fmt.Errorf("%s serves %s: %v", host.Name, addr, served)
			}
		}
	}
	return nil
}
