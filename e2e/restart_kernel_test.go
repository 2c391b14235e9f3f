//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// footprint is all that the agent writes of a node.
type footprint struct {
	ipvs       string
	timeouts   string
	generation uint32
	sysctls    string
	record     string
}

func (r *rig) footprint(t *testing.T) footprint {
	t.Helper()
	f := footprint{
		ipvs:       r.run(t, "", "ipvsadm", "-Sn"),
		timeouts:   r.run(t, "", "ipvsadm", "-Ln", "--timeout"),
		generation: r.generation(t),
	}
	for _, name := range []string{"ipv4/vs/conntrack", "ipv4/vs/expire_nodest_conn", "ipv4/vs/expire_quiescent_template", "ipv4/ip_forward"} {
		f.sysctls += name + " " + r.sysctl(t, name) + "\n"
	}
	record := filepath.Join(r.state, "sysctls.json")
	info, err := os.Stat(record)
	must(t, err)
	f.record = fmt.Sprint(info.ModTime())
	return f
}

// sysctl reads a setting below net.
func (r *rig) sysctl(t *testing.T, name string) string {
	t.Helper()
	var value []byte
	must(t, r.Node1.Do(func() (err error) {
		value, err = os.ReadFile(filepath.Join("/proc/sys/net", name))
		return err
	}))
	return strings.TrimSpace(string(value))
}

func TestARestartWithNothingChangedWritesNothing(t *testing.T) {
	r := newRig(t)
	everything := agent.Service{
		Name: "web", Annotations: map[string]string{"kube-ipvs.io/scheduler": "sh"},
		Ports: []agent.Port{{Name: "tcp", NodePort: nodePort}, {Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP}},
	}
	third := r.pod(t, r.Node1, "web-3")
	r.serve(t, everything, append(r.both(), agent.Terminating(third, r.Node1))...)
	r.serve(t, agent.Service{Name: "empty", Ports: []agent.Port{{NodePort: 30081}}})
	r.serve(t, agent.Service{
		Name: "local", Policy: corev1.ServiceExternalTrafficPolicyLocal, Ports: []agent.Port{{NodePort: 30082}},
	}, r.both()...)
	flags := []string{bothNetworks, oftenAudited, "--ipvs-tcp-timeout=1000s", "--ipvs-udp-timeout=40s"}
	r.start(t, flags...)
	if r.operations(t) == 0 {
		t.Error("the first start wrote nothing")
	}
	before := r.footprint(t)
	check := func(when string) {
		t.Helper()
		if n := r.operations(t); n != 0 {
			t.Errorf("%s: %d operations", when, n)
		}
		if after := r.footprint(t); after != before {
			t.Errorf("%s the node is\n%+v\nand was\n%+v", when, after, before)
		}
		for _, written := range []string{"Set sysctls", "Set the timeouts", `"Synced"`} {
			if strings.Contains(r.agent.Log(), written) {
				t.Errorf("%s the log says %s:\n%s", when, written, r.agent.Log())
			}
		}
	}
	for _, end := range []struct {
		name string
		stop func(*testing.T)
	}{{"kill -9", r.kill}, {"SIGTERM", r.stop}} {
		end.stop(t)
		r.start(t, flags...)
		check("after " + end.name)
		r.awaitPasses(t, 2)
		check("after " + end.name + " and two audits")
	}
}

func TestNoRequestFailsWhileTheAgentIsKilledAndStarted(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks)
	load := r.load(t, at(r.Node1.B4))
	for _, stop := range []func(*testing.T){r.kill, r.stop} {
		awaitAnswers(t, load, 20)
		stop(t)
		awaitAnswers(t, load, 40)
		r.start(t, bothNetworks)
		awaitAnswers(t, load, 20)
	}
	noFailure(t, load)
}

// A pod goes as Kubernetes lets it go: it terminates in its slice, is told to stop, fails its readiness, leaves the slice,
// and its address dies.
func TestNoRequestFailsWhileAllPodsAreReplaced(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks)
	load := r.load(t, at(r.Node1.A6))
	awaitAnswers(t, load, 20)
	there := []*topo.Pod{r.web1, r.web2}
	nodes := []*topo.Host{r.Node1, r.Node2}
	slice := func(conditions ...agent.Endpoint) {
		t.Helper()
		for i, pod := range there {
			conditions = append(conditions, agent.Ready(pod, nodes[i]))
		}
		must(t, r.Endpoints(web(), conditions))
	}
	for i, node := range nodes {
		old, fresh := there[i], r.pod(t, node, fmt.Sprintf("web-new-%d", i+1))
		there[i] = fresh
		slice(agent.Terminating(old, node))
		r.awaitWeight(t, old, 0)
		awaitAnswers(t, load, 20) // the time that a preStop hook waits: what was sent to the old pod before arrives
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
	awaitAnswers(t, load, 20)
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
	load := &topo.Load{From: r.Client, To: to, Workers: 4, Pause: 5 * time.Millisecond}
	load.Start(t.Context())
	return load
}

func awaitAnswers(t *testing.T, load *topo.Load, more int) {
	t.Helper()
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
