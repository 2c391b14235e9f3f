//go:build kernel && linux

package ipvs_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	moby "github.com/moby/ipvs"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// rounds is how often Apply runs; the median counts.
const rounds = 9

// BenchmarkApply1000x10x2 programs 1,000 Services with 10 endpoints on two node addresses, 22,000 entries, each time
// into a fresh network namespace because deleted entries slow later ones down. What that costs others is measured in
// e2e/bench/floor.
func BenchmarkApply1000x10x2(b *testing.B) {
	plan := ipvs.Diff(nil, services(1000, 10, "10.1.0.10", "10.2.0.10"))
	for b.Loop() {
		var took []time.Duration
		for range rounds {
			took = append(took, applyOnce(b, plan))
		}
		b.ReportMetric(float64(median(took).Milliseconds()), "apply-ms")
		b.Logf("apply %v", took)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkList reads tables back: first as a handle does it once, with one dump for each virtual server, then as it
// does it from then on, and through moby/ipvs alone.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("%dx10", n), func(b *testing.B) {
			table := services(n, 10, "10.1.0.10")
			for b.Loop() {
				var h ipvs.Handle
				var m *moby.Handle
				inFreshNamespace(b, func() { h, m = open(b, ipvs.Options{}), openMoby(b) })
				if r := ipvs.Apply(b.Context(), h, ipvs.Diff(nil, table)); len(r.Failed)+len(r.Uncertain) > 0 {
					b.Fatal(r.Failed, r.Uncertain)
				}
				took := map[string][]time.Duration{}
				for range 3 {
					fresh, err := ipvs.Reopen(h)
					if err != nil {
						b.Fatal(err)
					}
					took["first"] = append(took["first"], clock(func() { mustList(b, fresh, table) }))
					took["later"] = append(took["later"], clock(func() { mustList(b, fresh, table) }))
					took["moby"] = append(took["moby"], clock(func() { listThroughMoby(b, m) }))
					_ = fresh.Close()
				}
				for name, all := range took {
					b.ReportMetric(float64(median(all).Milliseconds()), name+"-ms")
					b.Logf("%-5s %v", name, all)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// applyOnce is how long Apply takes in a fresh network namespace.
func applyOnce(b *testing.B, plan ipvs.Plan) time.Duration {
	b.Helper()
	var h ipvs.Handle
	inFreshNamespace(b, func() { h = open(b, ipvs.Options{}) })
	took := clock(func() {
		if r := ipvs.Apply(b.Context(), h, plan); len(r.Done) != len(plan) {
			b.Fatalf("%d of %d done, %v", len(r.Done), len(plan), r.Failed)
		}
	})
	want := ipvs.Table{}
	for _, op := range plan {
		want.Commit(op)
	}
	mustList(b, h, want)
	// What stands in other namespaces costs a kernel time that counts its traffic every two seconds.
	h.Do(b.Context(), ipvs.Diff(want, nil))
	return took
}

func openMoby(b testing.TB) *moby.Handle {
	m, err := moby.New("")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	return m
}

func listThroughMoby(b *testing.B, m *moby.Handle) {
	all, err := m.GetServices()
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range all {
		if _, err := m.GetDestinations(s); err != nil {
			b.Fatal(err)
		}
	}
}

func mustList(b *testing.B, h ipvs.Handle, want ipvs.Table) {
	got, err := h.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if !got.Equal(want) {
		b.Fatal("the list is not what was programmed")
	}
}

// services is a table of n Services with so many endpoints each on every address.
func services(n, endpoints int, addrs ...string) ipvs.Table {
	t := ipvs.Table{}
	for i := range n {
		reals := map[netip.AddrPort]ipvs.RealServer{}
		for j := range endpoints {
			e := i*endpoints + j
			a := netip.AddrFrom4([4]byte{10, byte(160 + e>>16), byte(e >> 8), byte(e)})
			reals[netip.AddrPortFrom(a, 8080)] = ipvs.RealServer{Weight: 1}
		}
		for _, a := range addrs {
			key := frontend.NewKey(netip.MustParseAddr(a), frontend.TCP, uint16(30000+i))
			t[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: reals}
		}
	}
	return t
}

func clock(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
