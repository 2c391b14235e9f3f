package sync

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// BenchmarkOneEndpointChanged is one pass after one endpoint of one Service changed, beside so many others. It should
// not depend on their number.
func BenchmarkOneEndpointChanged(b *testing.B) {
	for _, services := range []int{10, 300, 3000} {
		b.Run(fmt.Sprintf("%d services", services), func(b *testing.B) {
			r, src := filled(b, services)
			endpoints := []string{"10.244.1.2:8080", "10.244.1.3:8080"}
			b.ResetTimer()
			for i := range b.N {
				svc := service("s0", 1000, endpoints[:1+i%2]...)
				src.deliver(func(u *Update) { u.Services = []Service{svc} })
				r.pass(b.Context())
			}
			if err := r.Status().Err; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// filled is a reconciler that serves so many Services of ten endpoints on two addresses.
func filled(b testing.TB, services int) (*Reconciler, *source) {
	b.Helper()
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	if err != nil {
		b.Fatal(err)
	}
	src, addrs := newSource(), &addresses{changed: make(chan struct{}, 1)}
	addrs.set("10.1.0.10", "10.2.0.10")
	r := New(logr.Discard(), Config{
		Source: src, Addresses: addrs, Kernel: ipvsfake.New(), Filter: filter.New(filtertest.New(), filter.Options{}),
		NodePortAddresses: spec, Defaults: Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll}, SyncPeriod: time.Hour, DrainTimeout: 0, AddressGrace: time.Minute,
	})
	src.deliver(func(u *Update) {
		for i := range services {
			svc := service(fmt.Sprintf("s%d", i), uint16(1000+i))
			for n := range 10 {
				addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 200, byte(i), byte(n)}), 8080)
				svc.Ports[0].Endpoints = append(svc.Ports[0].Endpoints, Endpoint{Addr: addr, Ready: true, Serving: true})
			}
			u.Services = append(u.Services, svc)
		}
	})
	r.pass(b.Context())
	return r, src
}
