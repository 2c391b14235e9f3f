package sync

import (
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// BenchmarkLook is a look at one of ten real servers that leaves, with a connection. What the kernel needs for its answer
// comes on top.
func BenchmarkLook(b *testing.B) {
	r, src := filled(b, 1)
	r.DrainTimeout = 24 * time.Hour
	key, leaves := tcp("10.1.0.10", 1000), netip.MustParseAddrPort("10.200.0.9:8080")
	r.Kernel.(*ipvsfake.Kernel).SetConnections(key, leaves, ipvs.Connections{Active: 1})
	f, _ := r.state.Want(key)
	var stay []string
	for _, addr := range f.Entry.RealKeys() {
		if addr != leaves {
			stay = append(stay, addr.String())
		}
	}
	src.deliver(func(u *Update) { u.Services = []Service{service("s0", 1000, stay...)} })
	r.pass(b.Context())
	if len(r.leaving[key]) != 1 {
		b.Fatalf("%d leave", len(r.leaving[key]))
	}
	p := &passReport{}
	b.ReportAllocs()
	for b.Loop() {
		if something, err := r.look(b.Context(), key, p); something || err != nil {
			b.Fatal(something, err)
		}
	}
}
