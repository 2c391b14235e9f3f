//go:build kernel

package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// A Service that had every annotation is served as one that never had any.
func TestWithoutItsAnnotationsAServiceIsServedAsIfItNeverHadAny(t *testing.T) {
	r := newRig(t)
	s := annotated("web", nodePort)
	s.Affinity = "ClientIP"
	r.serve(t, s, r.zoned()...)
	r.serve(t, agent.Service{Name: "other", Ports: port(internalPort)}, r.both()...)
	r.start(t, bothNetworks, "--network=internal=10.1.0.0/24,fd01::/64", "--extra-port-range=443")
	isBack := r.remember(t)
	ipvs, nft := r.ipvsText(t), r.nftText(t)

	every := annotated("web", nodePort, "networks", "internal", "source-ranges", "10.1.0.0/16,fd01::/64", "deny-source-ranges", "10.1.7.0/24",
		"scheduler", "wlc", "scheduler-flags", "mh-port", "weights", "zone:one=0,zone:two=7", "upper-threshold", "1000", "lower-threshold", "900",
		"slow-start", "1s", "affinity-prefix", "/24,/64", "one-packet", "true", "extra-ports", "443=tcp")
	every.Affinity = s.Affinity
	every.Annotations["kube-router.io/service.scheduler"] = "lc"
	every.Annotations["kube-router.io/service.schedflags"] = "flag-2"
	must(t, r.Service(every))
	r.awaitServing(t, nodePort, r.onA()...)
	r.awaitGone(t, nodePort, r.onB())
	r.awaitWeights(t, nodePort, 0, 70)
	table := r.table(t)
	entry := table[key(r.Node1.A4, frontend.TCP)]
	if real := entry.Reals[dst(r.web2, r.Node1.A4)]; entry.Scheduler != "wlc" || entry.PersistencePrefix != 24 || real.UpperThreshold != 1000 || real.LowerThreshold != 900 {
		t.Errorf("the annotations are not in force: %+v", entry)
	}
	if _, open := table[frontend.NewKey(r.Node1.A4, frontend.TCP, 443)]; !open {
		t.Error("the extra port is not open")
	}
	state, err := r.rules(t.Context())
	must(t, err)
	want := filter.NewSources(
		[]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd01::/64")},
		[]netip.Prefix{netip.MustParsePrefix("10.1.7.0/24")})
	if have := state.Rules.Sources[key(r.Node1.A6, frontend.UDP)]; !have.Equal(want) {
		t.Errorf("the source ranges are %q, want %q", have, want)
	}

	must(t, r.Service(s))
	eventually(t, "all is as it was", isBack)
	if now := r.ipvsText(t); now != ipvs {
		t.Errorf("ipvsadm has\n%s\nand had\n%s", now, ipvs)
	}
	if now := r.nftText(t); now != nft {
		t.Errorf("our nftables table has the words\n%s\nand had\n%s", now, nft)
	}
	for _, addr := range r.all() {
		r.askFrom(t, topo.TCP, r.clientAt(addr), r.clientAt(addr), at(addr))
	}
}

// clientAt is the client's address on the network of one of the node's.
func (r *rig) clientAt(addr netip.Addr) netip.Addr { return r.own()[addr] }

// ipvsText is the whole table as ipvsadm saves it. The order of its lines means nothing.
func (r *rig) ipvsText(t *testing.T) string {
	t.Helper()
	return sorted(strings.Split(r.run(t, "", "ipvsadm", "-Sn"), "\n"))
}

// nftText has the words of our table as nft lists it, in an order of their own: that of a set's elements is by chance.
func (r *rig) nftText(t *testing.T) string {
	t.Helper()
	text := r.run(t, "", "nft", "list", "table", string(filter.Family), filter.Name)
	return sorted(strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t\n,{}", c) }))
}

func sorted(words []string) string {
	slices.Sort(words)
	return strings.Join(words, "\n")
}
