package sync

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// BenchmarkStateCopied is what an Overview costs the loop: 2,700 Services with ten endpoints each, on two addresses.
func BenchmarkStateCopied(b *testing.B) {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: nodePorts})
	s.SetPlaces(at(netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")))
	services := make([]Service, 0, 2700)
	for i := range 2700 {
		endpoints := make([]string, 0, 10)
		for n := range 10 {
			endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d:8080", 200+i/250, i%250, n+1))
		}
		services = append(services, service(fmt.Sprintf("web-%d", i), uint16(30000+i), endpoints...))
	}
	s.Update(Update{Services: services})
	s.Resolve()
	for b.Loop() {
		if c := s.copied(); len(c.want) != 5400 {
			b.Fatalf("%d frontends", len(c.want))
		}
	}
}
