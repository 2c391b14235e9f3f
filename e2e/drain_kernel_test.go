//go:build kernel

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// longerThanSettle is how long a test looks on that a real server with a connection stays: one without would be gone by
// then.
const longerThanSettle = 5 * time.Second

// leave takes a pod out of the slices and returns the one that stays.
func (r *rig) leave(t *testing.T, s agent.Service, pod string) (stays *topo.Pod) {
	t.Helper()
	remaining := r.both()[1:]
	if pod == r.web2.Name {
		remaining = r.both()[:1]
	}
	must(t, r.Endpoints(s, remaining))
	return remaining[0].Pod
}

func (r *rig) testOpenConnection(t *testing.T, s agent.Service) {
	to, k := at(r.Node1.A4), key(r.Node1.A4, frontend.TCP)
	c, pod := r.dial(t, to)
	stays := r.leave(t, s, pod)
	drains := func() error {
		weights, err := r.weights(t.Context(), k)
		if err == nil && (len(weights) != 2 || weights[dst(stays, k.Addr)] != 1) {
			err = fmt.Errorf("the weights are %v", weights)
		}
		for addr, weight := range weights {
			if addr != dst(stays, k.Addr) && weight != 0 {
				err = fmt.Errorf("%s has weight %d", addr, weight)
			}
		}
		return err
	}
	eventually(t, "weight 0", drains)
	r.answersOnly(t, topo.TCP, to, 6, stays.Name)
	holds(t, longerThanSettle, "the real server stays at weight 0", drains)
	if got := askOn(t, c); got != pod {
		t.Errorf("the open connection is answered by %s, not %s", got, pod)
	}
	must(t, c.Close())
	closed := time.Now()
	eventually(t, "the real server is deleted", func() error { return r.hasReals(t, 1) })
	t.Logf("%s after the connection was closed the real server was deleted", since(closed))
}

func (r *rig) testDatagrams(t *testing.T, s agent.Service) {
	k := key(r.Node1.B6, frontend.UDP)
	c, err := r.Client.Dial(t.Context(), topo.UDP, k.AddrPort())
	must(t, err)
	defer c.Close()
	pod := askOn(t, c)
	if again := askOn(t, c); again != pod {
		t.Fatalf("one flow is answered by %s and %s", pod, again)
	}
	stays := r.leave(t, s, pod)
	eventually(t, "the real server is deleted", func() error {
		weights, err := r.weights(t.Context(), k)
		if err == nil && len(weights) != 1 {
			err = fmt.Errorf("the weights are %v", weights)
		}
		return err
	})
	// The kernel drops the flows of a deleted real server a moment later (expire_nodest_conn, 1 jiffy): a datagram that
	// comes first is lost.
	must(t, c.SetDeadline(time.Now().Add(2*time.Second)))
	a, err := topo.AskOn(c)
	if err != nil {
		t.Logf("the first datagram was lost: %v", err)
		a.Pod = askOn(t, c)
	}
	if a.Pod != stays.Name {
		t.Errorf("the flow is answered by %s, not %s", a.Pod, stays.Name)
	}
}

func (r *rig) testDeletedService(t *testing.T, s agent.Service) {
	to := at(r.Node1.B4)
	c, pod := r.dial(t, to)
	must(t, r.Remove(s))
	eventually(t, "no pod takes anything new", func() error {
		table, err := agent.Table(t.Context(), r.Node1)
		for k, entry := range table {
			for addr, real := range entry.Reals {
				if real.Weight > 0 {
					return fmt.Errorf("%s of %s has weight %d", addr, k, real.Weight)
				}
			}
		}
		return err
	})
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		r.refused(t, protocol, to)
	}
	onlyItIsLeft := func() error {
		weights, err := r.weights(t.Context(), key(r.Node1.B4, frontend.TCP))
		if err == nil && len(weights) != 1 {
			err = fmt.Errorf("the weights are %v", weights)
		}
		return err
	}
	eventually(t, "the pod without connections is let go, and only that", onlyItIsLeft)
	if got := askOn(t, c); got != pod {
		t.Errorf("the open connection is answered by %s, not %s", got, pod)
	}
	must(t, c.Close())
	r.awaitNothing(t)
	r.refused(t, topo.TCP, to)
}

// awaitNothing returns when the kernel has no virtual server and our nftables table no element.
func (r *rig) awaitNothing(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is served", func() error {
		table, err := agent.Table(t.Context(), r.Node1)
		if err == nil && len(table) > 0 {
			err = fmt.Errorf("the kernel has\n%s", table)
		}
		return err
	})
	eventually(t, "our nftables table is empty", func() error {
		state, err := r.rules(t.Context())
		if n := len(state.Rules.Owned) + len(state.Rules.Masquerade) + len(state.Rules.Internal) + len(state.Rules.Sources); n > 0 {
			err = fmt.Errorf("it has %d elements", n)
		}
		return err
	})
}

func (r *rig) testDrainTimeout(t *testing.T, s agent.Service) {
	to := at(r.Node1.A6)
	c, pod := r.dial(t, to)
	begin := time.Now()
	r.leave(t, s, pod)
	eventually(t, "the real server is deleted", func() error { return r.hasReals(t, 1) })
	if took := since(begin); took < shortDrain {
		t.Errorf("the connection was cut after %s, before %s", took, shortDrain)
	} else {
		t.Logf("the connection was cut after %s", took)
	}
	must(t, c.SetDeadline(time.Now().Add(2*time.Second)))
	if a, err := topo.AskOn(c); err == nil {
		t.Errorf("the connection is answered by %s", a.Pod)
	}
}
