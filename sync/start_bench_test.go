package sync

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// instantFilter is a Filter that takes no time and no memory but the rules.
type instantFilter struct {
	rules   filter.Rules
	present bool
}

func (f *instantFilter) Read(context.Context) (filter.State, error) {
	return filter.State{Rules: f.rules.Clone(), Present: f.present, Intact: f.present}, nil
}

func (f *instantFilter) Apply(_ context.Context, c filter.Change) error {
	f.rules.Commit(c)
	return nil
}

func (f *instantFilter) Replace(_ context.Context, r filter.Rules) error {
	f.rules, f.present = r.Clone(), true
	return nil
}

// BenchmarkStart is the first pass with 2,700 Services of ten endpoints on two addresses: cold, where nothing is served yet,
// and warm, where another agent has left everything as it should be.
func BenchmarkStart(b *testing.B) {
	const services = 2700
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	if err != nil {
		b.Fatal(err)
	}
	start := func(b *testing.B, kernel *ipvsfake.Kernel, table *instantFilter) {
		b.StopTimer()
		src, addrs := newSource(), &addresses{changed: make(chan struct{}, 1)}
		addrs.set("10.1.0.10", "10.2.0.10")
		src.deliver(func(u *Update) { u.Services = tenEndpointsEach(services) })
		r := New(logr.Discard(), Config{
			Source: src, Addresses: addrs, Kernel: kernel, Filter: table, NodePortAddresses: spec,
			Defaults: Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll}, SyncPeriod: 30 * time.Second, DrainTimeout: time.Second, AddressGrace: time.Minute,
		})
		b.StartTimer()
		r.pass(b.Context())
		if s := r.Status(); s.Frontends != 2*services || s.Err != nil {
			b.Fatal(s.Frontends, s.Err)
		}
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			start(b, ipvsfake.New(), &instantFilter{})
		}
	})
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		kernel, table := ipvsfake.New(), &instantFilter{}
		start(b, kernel, table)
		writes := kernel.Writes()
		b.ResetTimer()
		for range b.N {
			start(b, kernel, table)
		}
		if kernel.Writes() != writes {
			b.Fatalf("%d writes", kernel.Writes()-writes)
		}
	})
}

// tenEndpointsEach are so many Services.
func tenEndpointsEach(services int) []Service {
	all := make([]Service, 0, services)
	for i := range services {
		svc := service(fmt.Sprintf("s%d", i), uint16(30000+i))
		for n := range 10 {
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(200 + i/256), byte(i), byte(n)}), 8080)
			svc.Ports[0].Endpoints = append(svc.Ports[0].Endpoints, Endpoint{Addr: addr, Ready: true, Serving: true})
		}
		all = append(all, svc)
	}
	return all
}
