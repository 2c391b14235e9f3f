package sync

import (
	"net/netip"
	"testing"
)

// What one changed endpoint costs is bounded, and does not depend on what else the node serves. The budget is a quarter above what
// was measured: who goes beyond it should know why.
func TestOneChangedEndpointCostsFewAllocationsWhateverElseIsServed(t *testing.T) {
	const budget = 90 // 70 measured, on two addresses
	few, many := allocationsOfOneChange(t, 10), allocationsOfOneChange(t, 1000)
	if few > budget || many > budget {
		t.Errorf("a pass makes %.0f allocations beside 10 Services and %.0f beside 1,000, the budget is %d", few, many, budget)
	}
	if many > few+5 {
		t.Errorf("a pass makes %.0f allocations beside 10 Services and %.0f beside 1,000", few, many)
	}
}

func allocationsOfOneChange(t *testing.T, services int) float64 {
	t.Helper()
	r, src := filled(t, services)
	endpoints := []string{"10.244.1.2:8080", "10.244.1.3:8080"}
	n := 0
	allocations := testing.AllocsPerRun(200, func() {
		n++
		svc := service("s0", 1000, endpoints[:1+n%2]...)
		src.deliver(func(u *Update) { u.Services = []Service{svc} })
		r.pass(t.Context())
	})
	if err := r.Status().Err; err != nil {
		t.Fatal(err)
	}
	return allocations
}

// All Services at once, as at a start: what is the same for several addresses is made once.
func TestResolvingEverythingCostsFewAllocations(t *testing.T) {
	const services, budget = 500, 18 // for each Service; 14.6 measured
	r, _ := filled(t, services)
	places := [][]netip.Addr{{netip.MustParseAddr("10.1.0.10")}, {netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")}}
	n := 0
	allocations := testing.AllocsPerRun(10, func() {
		n++
		r.state.SetPlaces(at(places[(n+1)%2]...))
		if changed := r.state.Resolve(); len(changed) != services {
			t.Fatalf("%d frontends changed", len(changed))
		}
	}) / services
	if allocations > budget {
		t.Errorf("resolving makes %.1f allocations for each Service, the budget is %d", allocations, budget)
	}
}
