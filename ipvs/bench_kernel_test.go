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

// rounds is how often each contestant runs, slow ones every third time only; the median counts.
const rounds = 9

// BenchmarkApply1000x10x2 programs 1,000 Services with 10 endpoints on two node addresses, 22,000 entries, in three
// ways, each time into a fresh network namespace because deleted entries slow later ones down. It prints how Apply
// compares with the least that could be done and with moby/ipvs, which sends one request at a time.
func BenchmarkApply1000x10x2(b *testing.B) {
	plan := ipvs.Diff(nil, services(1000, 10, "10.1.0.10", "10.2.0.10"))
	contestants := []contestant{{"apply", false, prepareApply}, {"bare", false, prepareBare}, {"moby", true, prepareMoby}}
	for b.Loop() {
		took := map[string][]time.Duration{}
		for round := range rounds {
			for i := range contestants {
				c := contestants[(round+i)%len(contestants)]
				if c.slow && round%3 != 0 {
					continue
				}
				took[c.name] = append(took[c.name], c.run(b, plan))
			}
		}
		apply, bare, moby := median(took["apply"]), median(took["bare"]), median(took["moby"])
		b.ReportMetric(apply.Seconds()/bare.Seconds(), "apply/bare")
		b.ReportMetric(moby.Seconds()/apply.Seconds(), "moby/apply")
		for name, all := range took {
			b.ReportMetric(float64(median(all).Milliseconds()), name+"-ms")
			b.Logf("%-5s %v", name, all)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBatches programs 59,400 entries in batches of several sizes, each time into a fresh network namespace.
func BenchmarkBatches(b *testing.B) {
	plan := ipvs.Diff(nil, services(2700, 10, "10.1.0.10", "10.2.0.10"))
	contestants := []contestant{{"bare", false, prepareBare}}
	for _, size := range []int{256, 512, 1024, 2048, 4096} {
		contestants = append(contestants, contestant{fmt.Sprintf("apply-%d", size), false, prepareBatches(size)})
	}
	for b.Loop() {
		took := map[string][]time.Duration{}
		for round := range 3 {
			for i := range contestants {
				c := contestants[(2*round+i)%len(contestants)]
				took[c.name] = append(took[c.name], c.run(b, plan))
			}
		}
		for name, all := range took {
			b.ReportMetric(float64(median(all).Milliseconds()), name+"-ms")
			b.Logf("%-10s %v", name, all)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func prepareBatches(size int) func(*testing.B, ipvs.Plan) func(context.Context) error {
	return func(b *testing.B, plan ipvs.Plan) func(context.Context) error {
		h := open(b, ipvs.Options{})
		if err := ipvs.SetBatch(h, size); err != nil {
			b.Fatal(err)
		}
		return func(ctx context.Context) error {
			if r := ipvs.Apply(ctx, h, plan); len(r.Done) != len(plan) {
				return fmt.Errorf("%d of %d done, %v", len(r.Done), len(plan), r.Failed)
			}
			return nil
		}
	}
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
				if same, err := h.SameReals(ctx, key, table[key].Reals); !same {
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

// contestant is one way to carry out a plan: prepare runs in a fresh network namespace and returns the part that is
// measured.
type contestant struct {
	name    string
	slow    bool
	prepare func(b *testing.B, plan ipvs.Plan) (run func(context.Context) error)
}

func (c contestant) run(b *testing.B, plan ipvs.Plan) time.Duration {
	b.Helper()
	var (
		run     func(context.Context) error
		control ipvs.Handle
	)
	inFreshNamespace(b, func() { run, control = c.prepare(b, plan), open(b, ipvs.Options{}) })
	took := clock(func() {
		if err := run(b.Context()); err != nil {
			b.Fatalf("%s: %v", c.name, err)
		}
	})
	have, err := control.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	want := ipvs.Table{}
	for _, op := range plan {
		want.Commit(op)
	}
	if !have.Equal(want) {
		b.Fatalf("%s: the table is not as it was to be", c.name)
	}
	// What stands in other namespaces costs a kernel time that counts its traffic every two seconds.
	control.Do(b.Context(), ipvs.Diff(have, nil))
	return took
}

func prepareApply(b *testing.B, plan ipvs.Plan) func(context.Context) error {
	return prepareBatches(1024)(b, plan)
}

func prepareBare(b *testing.B, plan ipvs.Plan) func(context.Context) error {
	bare, err := ipvs.NewBare(b.Context(), plan, 1000)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bare.Close)
	return bare.Run
}

func prepareMoby(b *testing.B, plan ipvs.Plan) func(context.Context) error {
	m := openMoby(b)
	return func(context.Context) error {
		for _, op := range plan {
			s := &moby.Service{
				AddressFamily: 2, Address: op.Key.Addr.AsSlice(), Protocol: uint16(op.Key.Protocol), Port: op.Key.Port,
				SchedName: op.Virtual.Scheduler, Netmask: 0xffffffff,
			}
			var err error
			if op.Verb == ipvs.AddVirtual {
				err = m.NewService(s)
			} else {
				err = m.NewDestination(s, &moby.Destination{
					AddressFamily: 2, Address: op.RealKey.Addr().AsSlice(), Port: op.RealKey.Port(), Weight: int(op.Real.Weight),
				})
			}
			if err != nil {
				return fmt.Errorf("%s: %w", op, err)
			}
		}
		return nil
	}
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
