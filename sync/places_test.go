package sync

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// choosy is a Service with a thousand ports on as many networks, all of which have to be tried for each of the node's addresses: the last
// one selects them.
func choosy(networks int) Service {
	svc := service("web", 0)
	svc.Ports = nil
	for i := range 1000 {
		svc.Ports = append(svc.Ports, service("web", uint16(30000+i)).Ports...)
	}
	names := make([]string, networks)
	for i := range names {
		names[i] = fmt.Sprintf("iface:*e*t*h*%d", 1000+i)
	}
	names[networks-1] = "iface:eth*"
	return narrowed(svc, strings.Join(names, ","))
}

// takeIn is all that the loop does with a Service that changed before it writes, and the view of it.
func takeIn(tb testing.TB, s *State, svc Service) {
	s.Update(Update{Services: []Service{svc}})
	s.Claim()
	s.Resolve()
	if views := s.View(); len(views) != len(svc.Ports) || len(views[0].Frontends) != len(s.places) {
		tb.Fatalf("%d ports are served", len(views))
	}
}

// Whoever may write Services does not hold up all others by it.
func TestNetworksAreReadOnceForAServiceAndNotForEachOfItsPorts(t *testing.T) {
	quickest := func(svc Service) time.Duration {
		s, least := stateAt(twoNetworks(), svc), time.Hour
		for range 5 {
			begin := time.Now()
			takeIn(t, s, svc)
			least = min(least, time.Since(begin))
		}
		return least
	}
	// One network takes the same as 400, within what a machine at work makes of it; for each port it was thirty times as much.
	few, many := quickest(choosy(1)), quickest(choosy(400))
	if many > 4*few {
		t.Errorf("a change takes %s with one network, and %s with 400", few, many)
	}
}

// BenchmarkAThousandPortsOnManyNetworks is a change of such a Service.
func BenchmarkAThousandPortsOnManyNetworks(b *testing.B) {
	for _, networks := range []int{1, 400} {
		b.Run(fmt.Sprintf("%d networks", networks), func(b *testing.B) {
			svc := choosy(networks)
			s := stateAt(twoNetworks(), svc)
			b.ReportAllocs()
			for b.Loop() {
				takeIn(b, s, svc)
			}
		})
	}
}
