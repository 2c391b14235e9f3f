//go:build kernel

package agent_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

func TestAgentServesManifestsAndIsFoundAgainAfterKill(t *testing.T) {
	ctx := t.Context()
	net, err := topo.New(ctx)
	check(t, err)
	t.Cleanup(func() { check(t, net.Close()) })
	pod, err := net.AddPod(ctx, net.Node1, "web-1")
	check(t, err)

	m := agent.NewManifests(t.TempDir())
	web := agent.Service{
		Name: "web", Annotations: map[string]string{"kube-ipvs.io/scheduler": "wrr"},
		Ports: []agent.Port{{NodePort: 30080}, {Name: "dns", Protocol: corev1.ProtocolUDP, NodePort: 30053}},
	}
	check(t, m.Node(net.Node1))
	check(t, m.Service(web))
	check(t, m.Endpoints(web, []agent.Endpoint{agent.Ready(pod, net.Node1)}))

	o := agent.Options{Dir: m.Dir, StateDir: t.TempDir(), Flags: []string{"--nodeport-addresses", "primary"}}
	a, err := agent.Start(ctx, net.Node1, o)
	check(t, err)
	for _, to := range []netip.Addr{net.Node1.A4, net.Node1.A6} {
		_, err = topo.Ask(ctx, net.Client, topo.HTTP, netip.AddrPortFrom(to, 30080))
		check(t, err)
		_, err = topo.Ask(ctx, net.Client, topo.UDP, netip.AddrPortFrom(to, 30053))
		check(t, err)
	}
	table, err := agent.Table(ctx, net.Node1)
	check(t, err)
	if len(table) != 4 {
		t.Errorf("want 4 virtual servers, have:\n%s", table)
	}
	if n := operations(ctx, t, a); n == 0 {
		t.Error("a first start counts no operation")
	}

	check(t, a.Kill())
	a, err = agent.Start(ctx, net.Node1, o)
	check(t, err)
	if n := operations(ctx, t, a); n != 0 {
		t.Errorf("a restart did %d operations\n%s", n, a.Log())
	}
	check(t, a.Stop())
	if !strings.Contains(a.Log(), "Stopped") {
		t.Errorf("the log does not tell of the stop:\n%s", a.Log())
	}

	out, code, err := agent.Cleanup(ctx, net.Node1, "--state-dir", o.StateDir)
	check(t, err)
	if code != 0 {
		t.Errorf("cleanup: exit code %d:\n%s", code, out)
	}
	if table, err = agent.Table(ctx, net.Node1); err != nil || len(table) != 0 {
		t.Errorf("after cleanup: %v\n%s", err, table)
	}
	out, code, err = agent.Check(ctx, net.Node1, "--manifests", m.Dir, "--hostname-override", net.Node1.Name)
	check(t, err)
	if code != 0 {
		t.Errorf("check: exit code %d:\n%s", code, out)
	}
	t.Log(out)
}

func TestAgentThatCannotStartIsAnErrorWithItsLog(t *testing.T) {
	net, err := topo.New(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, net.Close()) })
	_, err = agent.Start(t.Context(), net.Node1, agent.Options{Dir: t.TempDir(), StateDir: t.TempDir(), Flags: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("want the agent's own words, have: %v", err)
	}
}

func operations(ctx context.Context, t *testing.T, a *agent.Agent) int {
	t.Helper()
	n, err := a.Operations(ctx)
	check(t, err)
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
