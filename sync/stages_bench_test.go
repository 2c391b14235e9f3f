package sync

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// thousand is a Service port with so many endpoints, a few of which are not ready.
func thousand() ServicePort {
	p := ServicePort{Name: "http", Port: 80, NodePort: 30080, Protocol: frontend.TCP}
	for i := range 1000 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 200, byte(i / 250), byte(i % 250)}), 8080)
		p.Endpoints = append(p.Endpoints, Endpoint{Addr: addr, Ready: i%50 != 0, Serving: true, ZoneHint: Hint(1 + i%2)})
	}
	return p
}

func BenchmarkChoose1000Endpoints(b *testing.B) {
	port, addr := thousand(), netip.MustParseAddr("10.1.0.10")
	b.ReportAllocs()
	for b.Loop() {
		if c := choose(port, addr); len(c.use) == 0 {
			b.Fatal("none is chosen")
		}
	}
}

func BenchmarkDesired1000Endpoints(b *testing.B) {
	port, key := thousand(), tcp("10.1.0.10", 30080)
	b.ReportAllocs()
	for b.Loop() {
		if f := desired(Service{}, port, key, "rr", filter.MasqueradeAll); len(f.Entry.Reals) == 0 {
			b.Fatal("none is wanted")
		}
	}
}

// BenchmarkFollow1000RealServers is drain, where one real server of a thousand leaves.
func BenchmarkFollow1000RealServers(b *testing.B) {
	key := tcp("10.1.0.10", 30080)
	want := desired(Service{}, thousand(), key, "rr", filter.MasqueradeAll)
	have := want.Entry.Clone()
	have.Reals[netip.MustParseAddrPort("10.201.0.1:8080")] = ipvs.RealServer{Weight: 1}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if next, leaving, _ := follow(now, time.Minute, key, have, &want, nil, rising{}); next == nil || len(leaving) != 1 {
			b.Fatal("nothing leaves")
		}
	}
}

// BenchmarkResolveAll is what a change of the node's addresses costs: every Service is looked at.
func BenchmarkResolveAll(b *testing.B) {
	for _, services := range []int{100, 1000, 2700} {
		b.Run(fmt.Sprintf("%d services", services), func(b *testing.B) {
			r, _ := filled(b, services)
			places := [][]netip.Addr{{netip.MustParseAddr("10.1.0.10")}, {netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.state.SetPlaces(at(places[i%2]...))
				if changed := r.state.Resolve(); len(changed) != services {
					b.Fatalf("%d frontends changed", len(changed))
				}
			}
		})
	}
}

// BenchmarkAudit is a whole round, in all of its slices, where nothing differs. It has a sync period to take; what the
// kernel needs for its answers comes on top.
func BenchmarkAudit(b *testing.B) {
	for _, services := range []int{100, 1000, 2700} {
		b.Run(fmt.Sprintf("%d services", services), func(b *testing.B) {
			r, _ := filled(b, services)
			r.SyncPeriod = 30 * time.Second
			r.Generation = func() (uint32, error) { return 1, nil } // nobody writes to nftables
			b.ReportAllocs()
			for b.Loop() {
				r.nextAudit = time.Now()
				r.pass(b.Context())
				for !r.round.over() {
					r.round.began, r.round.next = r.round.began.Add(-r.round.every), time.Now()
					r.pass(b.Context())
				}
			}
			if c := r.Counters(); c.Drift > 0 || c.FailedPasses > 0 {
				b.Fatal(c)
			}
			b.ReportMetric(100*float64(b.Elapsed())/float64(b.N)/float64(r.SyncPeriod), "%-of-a-core")
		})
	}
}

// BenchmarkVerdicts1000Endpoints is what the loop pays for a look at one Service port: see Overview.
func BenchmarkVerdicts1000Endpoints(b *testing.B) {
	port := thousand()
	b.ReportAllocs()
	for b.Loop() {
		if views := verdicts(port); len(views) != len(port.Endpoints) {
			b.Fatal(len(views))
		}
	}
}
