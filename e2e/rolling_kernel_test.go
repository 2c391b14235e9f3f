//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// A pod goes as Kubernetes lets it go: it terminates in its slice, is told to stop, fails its readiness, leaves the slice,
// and its address dies.
func (r *rig) testReplacement(t *testing.T, s agent.Service) {
	load := r.load(t, at(r.Node1.A6))
	awaitAnswers(t, load)
	there := []*topo.Pod{r.web1, r.web2}
	nodes := []*topo.Host{r.Node1, r.Node2}
	slice := func(conditions ...agent.Endpoint) {
		t.Helper()
		for i, pod := range there {
			conditions = append(conditions, agent.Ready(pod, nodes[i]))
		}
		must(t, r.Endpoints(s, conditions))
	}
	for i, node := range nodes {
		old, fresh := there[i], r.pod(t, node, fmt.Sprintf("web-new-%d", i+1))
		there[i] = fresh
		slice(agent.Terminating(old, node))
		r.awaitWeight(t, old, 0)
		awaitAnswers(t, load) // the time that a preStop hook waits: what was sent to the old pod before arrives
		stopped := make(chan error, 1)
		go func() { stopped <- old.Shutdown(t.Context()) }()
		gone := agent.Terminating(old, node)
		gone.Serving = false
		slice(gone)
		must(t, <-stopped)
		slice()
		r.awaitWeight(t, old, -1)
		must(t, old.Close())
	}
	awaitAnswers(t, load)
	tally := noFailure(t, load)
	for _, pod := range []string{"web-1", "web-2", "web-new-1", "web-new-2"} {
		if tally.Pods[pod] == 0 {
			t.Errorf("%s was never asked: %v", pod, tally)
		}
	}
}

// awaitWeight returns when a pod has a weight under the node port on all addresses; -1 is that it is not there.
func (r *rig) awaitWeight(t *testing.T, pod *topo.Pod, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("weight %d of %s", want, pod.Name), func() error {
		table, err := agent.Table(t.Context(), r.Node1)
		if err == nil && len(table) == 0 {
			return errors.New("the table is empty")
		}
		for key, entry := range table {
			weight := -1
			if real, there := entry.Reals[dst(pod, key.Addr)]; there {
				weight = int(real.Weight)
			}
			if weight != want {
				return fmt.Errorf("it is %d under %s", weight, key)
			}
		}
		return err
	})
}

// load asks a node port without end.
func (r *rig) load(t *testing.T, to netip.AddrPort) *topo.Load {
	load := &topo.Load{From: r.Client, To: to, Workers: 2, Pause: 20 * time.Millisecond}
	load.Start(t.Context())
	return load
}

// awaitAnswers returns when each worker has had a few more answers.
func awaitAnswers(t *testing.T, load *topo.Load) {
	t.Helper()
	const more = 20
	until := load.Tally().Answers() + more
	eventually(t, fmt.Sprintf("%d more answers", more), func() error {
		if tally := load.Tally(); tally.Answers() < until {
			return fmt.Errorf("%d so far: %s", tally.Answers(), tally)
		}
		return nil
	})
}

func noFailure(t *testing.T, load *topo.Load) topo.Tally {
	t.Helper()
	tally := load.Stop()
	t.Log(tally)
	if len(tally.Failures) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(tally.Failures), tally.Answers()+len(tally.Failures), tally)
	}
	return tally
}
