//go:build kernel

package datapath

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const (
	nodePort = 30080
	pairs    = 20
	each     = 250 * time.Millisecond
)

// noise is how far the median of pairs of the same thing may be from 1.
const noise = 0.05

func TestTwoVirtualServersMadeByHandAreEquallyFast(t *testing.T) {
	ratios, counts := measured(t, newSubject(t), pairs)
	for _, f := range families() {
		counted(t, counts, result.Hooks, f, 1, 0, 0, 0)
		counted(t, counts, result.Rules, f, 1, 0, 0, 0)
	}
	for name, r := range ratios {
		if m := median(r); math.Abs(m-1) > noise {
			t.Errorf("%s: the median is %.3f", name, m)
		}
	}
}

func TestThePodIsAskedFromAnAddressThatNodePortsAreNotAskedFrom(t *testing.T) {
	network, err := topo.New(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, network.Close()) })
	must(t, prepare(Options{Network: network}))
	must(t, prepare(Options{Network: network})) // a second time
	for i, c := range []struct{ node, client netip.Addr }{
		{network.Node1.A4, network.Client.A4}, {network.Node1.A6, network.Client.A6},
	} {
		source := func(to netip.Addr) (from netip.Addr) {
			must(t, network.Client.Do(func() error {
				routes, err := netlink.RouteGet(to.AsSlice())
				if err == nil {
					from, _ = netip.AddrFromSlice(routes[0].Src)
				}
				return err
			}))
			return from.Unmap()
		}
		if got := source(c.node); got != c.client {
			t.Errorf("node ports at %s are asked from %s, not from %s", c.node, got, c.client)
		}
		if got := source(network.Node1.PodCIDRs[i].Addr().Next()); got == c.client || got.Is4() != c.client.Is4() {
			t.Errorf("pods are asked from %s", got)
		}
	}
}

func TestASubjectWithManyRulesIsSlower(t *testing.T) {
	subject := newSubject(t)
	var rules strings.Builder
	rules.WriteString("table inet many {\nchain many {\ntype filter hook prerouting priority 0\n")
	for i := range 200 {
		fmt.Fprintf(&rules, "tcp sport %d drop\n", i+1)
	}
	rules.WriteString("}\n}\n")
	must(t, run(t.Context(), subject.Node1, rules.String(), "nft", "-f", "-"))
	ratios, counts := measured(t, subject, 4)
	for _, f := range families() {
		counted(t, counts, result.Hooks, f, 2, 1, 1, 1)
		counted(t, counts, result.Rules, f, 201, 200, 200, 200)
	}
	for name, r := range ratios {
		slower := median(r) < 1-noise
		if strings.HasPrefix(name, string(result.PairLatency)) {
			slower = median(r) > 1+noise
		}
		if !slower {
			t.Errorf("%s: the median is %.3f", name, median(r))
		}
	}
}

func TestTheAgentsRulesAreAsFastAsOneRuleMadeByHand(t *testing.T) {
	network, err := topo.New(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, network.Close()) })
	pod, err := network.AddPod(t.Context(), network.Node1, "web")
	must(t, err)
	manifests := agent.NewManifests(t.TempDir())
	service := agent.Service{Name: "web", Ports: []agent.Port{{NodePort: nodePort}}}
	must(t, manifests.Node(network.Node1))
	must(t, manifests.Endpoints(service, []agent.Endpoint{agent.Ready(pod, network.Node1)}))
	must(t, manifests.Service(service))
	a, err := agent.Start(t.Context(), network.Node1, agent.Options{Dir: manifests.Dir, StateDir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, a.Kill()) })
	ratios, _ := measured(t, &hand{network, pod}, pairs)
	for name, r := range ratios {
		if m := median(r); math.Abs(m-1) > 2*noise {
			t.Errorf("%s: the median is %.3f", name, m)
		}
	}
}

// newSubject is a virtual server made by hand that takes the subject's place.
func newSubject(t *testing.T) *hand {
	t.Helper()
	h, err := newHand(t.Context(), nodePort)
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	return h
}

// counted requires that the subject's packets pass so many hooks, or rules.
func counted(t *testing.T, counts map[string][]float64, m result.Measure, f family, want ...float64) {
	t.Helper()
	if got := counts[string(m)+" "+f.name]; !slices.Equal(got, want) {
		t.Errorf("%s, %s: %v, want %v: %s", m, f.name, got, want, traceNote)
	}
}

// measured prints all samples and returns the ratios of the subject's pairs and what its packets pass, by measure and family.
func measured(t *testing.T, subject *hand, pairs int) (ratios, counts map[string][]float64) {
	t.Helper()
	o := Options{Subject: "subject", Network: subject.Topology, Pod: subject.pod, NodePort: nodePort, Pairs: pairs, Each: each}
	ratios, counts = map[string][]float64{}, map[string][]float64{}
	must(t, Run(t.Context(), o, func(s result.Sample) {
		t.Log(line(s))
		switch name := string(s.Measure) + " " + s.Family; {
		case s.Subject != o.Subject:
		case s.Unit == result.Ratio:
			ratios[name] = s.Values
		case s.Unit == result.Count:
			counts[name] = s.Values
		}
	}))
	if len(ratios) != 6 {
		t.Errorf("there are pairs of %d kinds and families", len(ratios))
	}
	return ratios, counts
}

// line is a sample for people: what is there of it, and where the middle half of it lies.
func line(s result.Sample) string {
	if s.Unit == result.Count {
		return fmt.Sprintf("%-14s %s %-22s %v %s", s.Measure, s.Family, s.Subject, s.Values, s.Note)
	}
	v := slices.Sorted(slices.Values(s.Values))
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1))] }
	scale, unit := 1.0, string(s.Unit)
	if s.Unit == result.Seconds {
		scale, unit = 1e6, "µs"
	}
	return fmt.Sprintf("%-14s %s %-22s %5d values, p25 %8.3f  p50 %8.3f  p75 %8.3f  p99 %8.3f %s  %s",
		s.Measure, s.Family, s.Subject, len(v), scale*at(0.25), scale*at(0.5), scale*at(0.75), scale*at(0.99), unit, s.Note)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
