//go:build kernel && linux

package ipvs_test

import (
	"context"
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
			took = append(took, applyOnce(b, plan, 0))
		}
		b.ReportMetric(float64(median(took).Milliseconds()), "apply-ms")
		b.Logf("apply %v", took)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBatches programs 59,400 entries in batches of several sizes.
func BenchmarkBatches(b *testing.B) {
	plan := ipvs.Diff(nil, services(2700, 10, "10.1.0.10", "10.2.0.10"))
	sizes := []int{256, 512, 1024, 2048, 4096}
	for b.Loop() {
		took := map[int][]time.Duration{}
		for round := range 3 {
			for i := range sizes {
				size := sizes[(2*round+i)%len(sizes)]
				took[size] = append(took[size], applyOnce(b, plan, size))
			}
		}
		for size, all := range took {
			b.ReportMetric(float64(median(all).Milliseconds()), fmt.Sprintf("apply-%d-ms", size))
			b.Logf("%4d %v", size, all)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRead2700x2x10 reads a table of 5,400 virtual servers with 10 real servers each in every way there is: whole, as
// the agent does when it starts, and in the parts that an audit is made of; through moby/ipvs for comparison.
func BenchmarkRead2700x2x10(b *testing.B) {
	table := services(2700, 10, "10.1.0.10", "10.2.0.10")
	keys := table.Keys()[:100]
	for b.Loop() {
		var h ipvs.Handle
		var m *moby.Handle
		inFreshNamespace(b, func() { h, m = open(b, ipvs.Options{}), openMoby(b) })
		if r := ipvs.Apply(b.Context(), h, ipvs.Diff(nil, table)); len(r.Failed)+len(r.Uncertain) > 0 {
			b.Fatal(r.Failed, r.Uncertain)
		}
		list := func(context.Context) error { mustList(b, h, table); return nil }
		virtuals := func(ctx context.Context) error {
			all, err := h.Virtuals(ctx)
			return enough(all, len(table), err)
		}
		same := func(ctx context.Context) error {
			for _, key := range keys {
				if same, err := h.SameReals(ctx, key, table[key].Reals, nil); !same {
					return fmt.Errorf("%s is not the same, %w", key, err)
				}
			}
			return nil
		}
		get := func(ctx context.Context) error {
			for _, key := range keys {
				if e, _, err := h.Get(ctx, key); !e.Equal(table[key]) {
					return fmt.Errorf("%s is not the same, %w", key, err)
				}
			}
			return nil
		}
		tell(b, "list-ms", repeat(b, 3, list))
		tell(b, "virtuals-ms", repeat(b, 5, virtuals))
		tell(b, "moby-virtuals-ms", repeat(b, 3, func(context.Context) error { _, err := m.GetServices(); return err }))
		tell(b, "100-same-ms", repeat(b, 9, same))
		tell(b, "100-get-ms", repeat(b, 9, get))
		tell(b, "moby-list-ms", repeat(b, 1, func(context.Context) error { listThroughMoby(b, m); return nil }))
	}
	b.ReportMetric(0, "ns/op")
}

// applyOnce is how long Apply takes in a fresh network namespace, with batches of so many operations; 0 is its own number.
func applyOnce(b *testing.B, plan ipvs.Plan, batch int) time.Duration {
	b.Helper()
	var h ipvs.Handle
	inFreshNamespace(b, func() { h = open(b, ipvs.Options{}) })
	if batch > 0 {
		if err := ipvs.SetBatch(h, batch); err != nil {
			b.Fatal(err)
		}
	}
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
