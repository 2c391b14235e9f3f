//go:build kernel

package e2e

import (
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

func TestWhatUsersAndOthersBreakHarmsNothingElse(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	must(t, r.Service(agent.Service{Name: "without-slices", Ports: []agent.Port{{NodePort: 30090}}}))
	must(t, r.Endpoints(agent.Service{Name: "without-service", Ports: []agent.Port{{NodePort: 30091}}}, r.both()))
	must(t, r.Write("fqdn.yaml", fqdnSlice))
	// What is noticed is noticed without audits.
	r.start(t, bothNetworks, neverAudited, "--allowed-schedulers=rr,"+missingScheduler)
	if n := r.problems(t); n != 0 {
		t.Errorf("%v problems in legal input", n)
	}
	r.served(t)
	r.refused(t, topo.TCP, netip.AddrPortFrom(r.Node1.A4, 30090))

	t.Run("bad objects beside good ones", r.testBadObjects)
	t.Run("a scheduler that the kernel lacks", r.testMissingScheduler)
	t.Run("a broken manifest holds what it said before", r.testBrokenManifest)
	t.Run("nft flush ruleset", r.testRulesetFlush)
	// From here on the agent audits each second.
	t.Run("a manifest that is broken at the start holds what the kernel has", r.testBrokenAtTheStart)
	t.Run("ipvsadm -C", r.testTableFlush)
	t.Run("both flushed while the agent is down", r.testFlushWhileDown)
	t.Run("nft flush ruleset while the agent is down", r.testRulesetFlushWhileDown)
}
