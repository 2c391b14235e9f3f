//go:build kernel

package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// longerThanSettle is how long a test looks on that a real server with a connection stays: one without would be gone by
// then.
const longerThanSettle = 5 * time.Second

func TestConnectionsOutliveTheirEndpointAndTheirService(t *testing.T) {
	r := newRig(t)
	both := agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort}, {Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
	}}
	r.serve(t, both, r.both()...)
	r.start(t, bothNetworks)
	for _, s := range []struct {
		name string
		test func(*testing.T, agent.Service)
	}{
		{"UDP goes to the remaining pod at once", r.testDatagrams},
		{"an open connection keeps its endpoint at weight 0 and no longer", r.testOpenConnection},
		{"a deleted Service refuses new connections and keeps the open one", r.testDeletedService},
		{"--drain-timeout ends an open connection", r.testDrainTimeout},
	} {
		t.Run(s.name, func(t *testing.T) {
			r.serve(t, both, r.both()...)
			eventually(t, "both pods are served", func() error { return r.hasReals(t, 2) })
			s.test(t, both)
		})
	}
}

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
	if got := askOn(t, c); got != stays.Name {
		t.Errorf("the flow is answered by %s, not %s", got, stays.Name)
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
	eventually(t, "the pod without connections is let go", onlyItIsLeft)
	holds(t, longerThanSettle, "the connection is kept", onlyItIsLeft)
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
		if n := len(state.Rules.Owned) + len(state.Rules.Masquerade); n > 0 {
			err = fmt.Errorf("it has %d elements", n)
		}
		return err
	})
}

func (r *rig) testDrainTimeout(t *testing.T, s agent.Service) {
	const limit = 4 * time.Second
	r.stop(t)
	r.start(t, bothNetworks, fmt.Sprintf("--drain-timeout=%s", limit))
	to := at(r.Node1.A6)
	c, pod := r.dial(t, to)
	begin := time.Now()
	r.leave(t, s, pod)
	eventually(t, "the real server is deleted", func() error { return r.hasReals(t, 1) })
	if took := since(begin); took < limit {
		t.Errorf("the connection was cut after %s, before %s", took, limit)
	} else {
		t.Logf("the connection was cut after %s", took)
	}
	must(t, c.SetDeadline(time.Now().Add(2*time.Second)))
	if a, err := topo.AskOn(c); err == nil {
		t.Errorf("the connection is answered by %s", a.Pod)
	}
}
