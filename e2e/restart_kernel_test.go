//go:build kernel

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
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

func TestARestartWritesNothingFailsNoRequestAndTouchesNothingForeign(t *testing.T) {
	r := newRig(t)
	foreign := r.addForeign(t)
	both := agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort}, {Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
	}}
	third := r.pod(t, r.Node1, "web-3")
	r.serve(t, both, append(r.both(), agent.Ready(third, r.Node1))...)
	r.serve(t, agent.Service{Name: "empty", Ports: []agent.Port{{NodePort: 30081}}})
	r.serve(t, agent.Service{
		Name: "local", Policy: corev1.ServiceExternalTrafficPolicyLocal, Ports: []agent.Port{{NodePort: 30082}},
	}, r.both()...)
	r.serve(t, agent.Service{
		Name: "hash", Annotations: map[string]string{"kube-ipvs.io/scheduler": "sh"}, Ports: []agent.Port{{NodePort: 30083}},
	}, r.both()...)
	flags := []string{bothNetworks, oftenAudited, "--ipvs-tcp-timeout=1000s", "--ipvs-udp-timeout=40s"}
	r.start(t, flags...)
	if r.operations(t) == 0 {
		t.Error("the first start wrote nothing")
	}
	must(t, r.Endpoints(both, append(r.both(), agent.Terminating(third, r.Node1))))
	eventually(t, "web-3 gets nothing new", func() error { return r.hasWeight(t, third, key(r.Node1.B4, frontend.UDP), 0) })
	r.awaitPasses(t, 2)
	if got := r.foreignLines(t); got != foreign {
		t.Errorf("after a start, a change and audits the foreign virtual servers are\n%s\nand were\n%s", got, foreign)
	}

	load := r.load(t, at(r.Node1.B4))
	awaitAnswers(t, load)
	before := r.footprint(t)
	if !strings.Contains(before.timeouts, "1000 120 40") { // tcp, tcpfin (the kernel's own), udp
		t.Errorf("the timeouts are %q", before.timeouts)
	}
	for _, end := range []struct {
		name string
		stop func(*testing.T)
	}{{"kill -9", r.kill}, {"SIGTERM", r.stop}} {
		t.Run(end.name, func(t *testing.T) {
			end.stop(t)
			awaitAnswers(t, load)
			r.start(t, flags...)
			r.wroteNothing(t, before)
			r.awaitPasses(t, 2)
			r.wroteNothing(t, before)
			awaitAnswers(t, load)
		})
	}
	noFailure(t, load)
	if n := r.metric(t, "kube_ipvs_foreign_virtual_servers"); n != 1 {
		t.Errorf("%v foreign virtual servers on node ports are counted, want 1", n)
	}
}

// wroteNothing requires that the agent has left the node as it was, foreign virtual servers and all.
func (r *rig) wroteNothing(t *testing.T, before footprint) {
	t.Helper()
	if n := r.operations(t); n != 0 {
		t.Errorf("%d operations", n)
	}
	if after := r.footprint(t); after != before {
		t.Errorf("the node is\n%+v\nand was\n%+v", after, before)
	}
	for _, written := range []string{"Set sysctls", "Set the timeouts", `"Synced"`} {
		if strings.Contains(r.agent.Log(), written) {
			t.Errorf("the log says %s", written)
		}
	}
}

// hasWeight is nil if a pod has a weight under a key.
func (r *rig) hasWeight(t *testing.T, pod *topo.Pod, k frontend.Key, want uint32) error {
	weights, err := r.weights(t.Context(), k)
	if got, there := weights[dst(pod, k.Addr)]; err == nil && (!there || got != want) {
		err = fmt.Errorf("%s is at %d (there: %v), want %d", pod.Name, got, there, want)
	}
	return err
}
