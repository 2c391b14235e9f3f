//go:build kernel

package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
)

// Times that are minutes by default.
const (
	shortDrain = 4 * time.Second
	shortGrace = 2 * time.Second
)

func TestChangesCutNothingAndAreInForceAtOnce(t *testing.T) {
	r := newRig(t)
	both := agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort}, {Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
	}}
	run := func(name string, test func(*testing.T, agent.Service)) {
		t.Run(name, func(t *testing.T) {
			r.serve(t, both, r.both()...)
			eventually(t, "both pods are served", func() error { return r.hasReals(t, 2) })
			test(t, both)
		})
	}
	r.serve(t, both, r.both()...)
	r.start(t, bothNetworks)
	run("UDP goes to the remaining pod at once", r.testDatagrams)
	run("an open connection keeps its endpoint at weight 0 and no longer", r.testOpenConnection)
	run("a deleted Service refuses new connections and keeps the open one", r.testDeletedService)
	run("an address that comes is served, one that goes for a moment cuts nothing", r.testAddresses)

	r.stop(t)
	r.start(t, bothNetworks, fmt.Sprintf("--drain-timeout=%s", shortDrain), fmt.Sprintf("--address-grace=%s", shortGrace))
	run("--drain-timeout ends an open connection", r.testDrainTimeout)
	run("--address-grace gives an address up", r.testGrace)
	run("no request fails while all pods are replaced", r.testReplacement)
}
