package ipvs_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// instant is a handle that acknowledges everything, to see what Apply itself costs.
type instant struct{ ipvs.Handle }

func (instant) Do(_ context.Context, ops []ipvs.Op) []error { return make([]error, len(ops)) }

func BenchmarkApplyAlone(b *testing.B) {
	want := manyServices(1000, 2, 10)
	plan := ipvs.Diff(nil, want)
	b.ReportAllocs()
	for b.Loop() {
		ipvs.Apply(b.Context(), instant{}, plan)
	}
	b.ReportMetric(float64(len(plan)), "operations")
}

func BenchmarkDiff(b *testing.B) {
	want := manyServices(1000, 2, 10)
	for name, have := range map[string]ipvs.Table{"all new": nil, "no change": want.Clone()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ipvs.Diff(have, want)
			}
		})
	}
}

// manyServices is a table of services with a port each, on some addresses, with some real servers.
func manyServices(services, addresses, reals int) ipvs.Table {
	t := ipvs.Table{}
	for s := range services {
		e := ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{}}
		for r := range reals {
			pod := netip.AddrFrom4([4]byte{10, 244, byte(s >> 8), byte(s)})
			e.Reals[netip.AddrPortFrom(pod, uint16(8000+r))] = ipvs.RealServer{Weight: 1}
		}
		for a := range addresses {
			t[frontend.NewKey(netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + a)}), frontend.TCP, uint16(30000+s))] = e.Clone()
		}
	}
	return t
}
