package traffic

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func wantCounted(t *testing.T, what string, got ipvs.Counters, n uint64) {
	t.Helper()
	if diff := cmp.Diff(connections(n), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestWhatWasCountedBeforeTheMeterBeganCounts(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	s := sampleNow(t, m)
	wantCounted(t, "port", s.Ports[ref].Counters, 5)
	wantCounted(t, "endpoint", s.Ports[ref].Endpoints[endpoint(1)].Counters, 5)
	wantCounted(t, "idle endpoint", s.Ports[ref].Endpoints[endpoint(2)].Counters, 0)
}

func TestTheAddressesOfAPortAreAddedUp(t *testing.T) {
	k, m, key, ref := one(Options{})
	other := virtualServer(2, 30080)
	k.serve(other, ref, endpoint(1))
	k.connect(key, endpoint(1), 5)
	k.connect(other, endpoint(1), 7)
	k.set(key, endpoint(1), func(r *ipvs.RealStats) { r.Active, r.Inactive, r.Weight = 2, 3, 4 })
	k.set(other, endpoint(1), func(r *ipvs.RealStats) { r.Active, r.Inactive, r.Weight = 10, 20, 1 })
	p := sampleNow(t, m).Ports[ref]
	want := Port{Counters: connections(12), Active: 12, Inactive: 23, Endpoints: map[netip.AddrPort]Endpoint{
		endpoint(1): {Counters: connections(12), Counted: true, Active: 12, Inactive: 23, Weight: 4},
		endpoint(2): {Counted: true, Weight: 1},
	}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnEndpointDrainsOnceItDoesOnEachAddress(t *testing.T) {
	k, m, key, ref := one(Options{})
	other := virtualServer(2, 30080)
	k.serve(other, ref, endpoint(1))
	leaving := map[netip.AddrPort]struct{}{endpoint(1): {}}
	k.served[key] = sync.Served{PortRef: ref, Draining: leaving}
	if sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)].Draining {
		t.Error("it drains on one address of two, and counts as draining")
	}
	k.served[other] = sync.Served{PortRef: ref, Draining: leaving}
	p := sampleNow(t, m).Ports[ref]
	if !p.Endpoints[endpoint(1)].Draining || p.Endpoints[endpoint(2)].Draining {
		t.Errorf("want endpoint 1 alone to drain: %+v", p.Endpoints)
	}
}

func TestAVirtualServerThatVanishesLeavesWhatItCounted(t *testing.T) {
	k, m, key, ref := one(Options{})
	other := virtualServer(2, 30080)
	k.serve(other, ref, endpoint(1))
	k.connect(key, endpoint(1), 5)
	k.connect(other, endpoint(1), 7)
	sampleNow(t, m)
	k.remove(other)
	p := sampleNow(t, m).Ports[ref]
	wantCounted(t, "port", p.Counters, 12)
	wantCounted(t, "endpoint", p.Endpoints[endpoint(1)].Counters, 12)
	k.serve(other, ref, endpoint(1))
	k.connect(other, endpoint(1), 100)
	wantCounted(t, "port, made anew", sampleNow(t, m).Ports[ref].Counters, 112)
}

func TestAnObjectThatWasMadeAnewStartsAtZeroAndTheSumGoesOn(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	sampleNow(t, m)
	k.remove(key)
	k.serve(key, ref, endpoint(1))
	k.connect(key, endpoint(1), 3)
	p := sampleNow(t, m).Ports[ref]
	wantCounted(t, "port", p.Counters, 8)
	wantCounted(t, "endpoint", p.Endpoints[endpoint(1)].Counters, 8)
}

func TestAVirtualServerMissingFromOneDumpIsNotCountedTwice(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	sampleNow(t, m)
	counters := k.virtuals[key]
	delete(k.virtuals, key)
	wantCounted(t, "port, not in the dump", sampleNow(t, m).Ports[ref].Counters, 5)
	k.virtuals[key] = counters
	k.connect(key, endpoint(1), 1)
	wantCounted(t, "port, in the dump again", sampleNow(t, m).Ports[ref].Counters, 6)
}

func TestAVirtualServerMissingFromOneListHasTheRealServersThatItHad(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	before := sampleNow(t, m).Ports[ref]
	k.overlooked = map[frontend.Key]bool{key: true}
	if diff := cmp.Diff(before, sampleNow(t, m).Ports[ref]); diff != "" {
		t.Errorf("once (-before +after):\n%s", diff)
	}
	if p := sampleNow(t, m).Ports[ref]; len(p.Endpoints) != 0 {
		t.Errorf("twice: %+v", p)
	}
}

func TestAPortThatIsServedNoMoreIsForgotten(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	sampleNow(t, m)
	k.remove(key)
	if s := sampleNow(t, m); len(s.Ports)+len(s.former) != 0 {
		t.Errorf("still there: %+v", s)
	}
	k.serve(key, ref, endpoint(1))
	wantCounted(t, "port", sampleNow(t, m).Ports[ref].Counters, 0)
	if len(m.memory.tallies) != 1 || len(m.memory.virtuals) != 1 {
		t.Errorf("%d tallies and %d virtual servers are remembered, want one each", len(m.memory.tallies), len(m.memory.virtuals))
	}
}

func TestAnEndpointThatVanishedIsForgottenAndItsTrafficStaysWithThePort(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	k.connect(key, endpoint(2), 7)
	sampleNow(t, m)
	k.drop(key, endpoint(1))
	p := sampleNow(t, m).Ports[ref]
	if _, exists := p.Endpoints[endpoint(1)]; exists || len(m.memory.virtuals[key].reals) != 1 {
		t.Error("the endpoint is still there")
	}
	wantCounted(t, "port", p.Counters, 12)
	k.serve(key, ref, endpoint(1))
	k.connect(key, endpoint(1), 2)
	wantCounted(t, "endpoint that came back", sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)].Counters, 2)
}

func TestAKeyThatChangesItsServiceCarriesNoCountsOver(t *testing.T) {
	k, m, key, _ := one(Options{})
	k.connect(key, endpoint(1), 1000)
	sampleNow(t, m)
	k.connect(key, endpoint(1), 200) // nobody's: it may have been for either
	other := web("other", 30080)
	k.serve(key, other, endpoint(1), endpoint(3))
	s := sampleNow(t, m)
	wantCounted(t, "port", s.Ports[other].Counters, 0)
	wantCounted(t, "endpoint", s.Ports[other].Endpoints[endpoint(1)].Counters, 0)
	if len(s.Ports) != 1 {
		t.Errorf("the former Service is still there: %+v", s.Ports)
	}
	k.connect(key, endpoint(1), 3)
	k.connect(key, endpoint(3), 4)
	p := sampleNow(t, m).Ports[other]
	wantCounted(t, "port, later", p.Counters, 7)
	wantCounted(t, "endpoint, later", p.Endpoints[endpoint(1)].Counters, 3)
	wantCounted(t, "new endpoint, later", p.Endpoints[endpoint(3)].Counters, 4)
}

func TestAKeyMadeAnewForAnotherServiceCountsAllItHas(t *testing.T) {
	k, m, key, _ := one(Options{})
	k.connect(key, endpoint(1), 1000)
	sampleNow(t, m)
	k.remove(key)
	other := web("other", 30080)
	k.serve(key, other, endpoint(1))
	k.connect(key, endpoint(1), 10)
	p := sampleNow(t, m).Ports[other]
	wantCounted(t, "port", p.Counters, 10)
	wantCounted(t, "endpoint", p.Endpoints[endpoint(1)].Counters, 10)
}

func TestRealServersMadeAnewWithTheirVirtualServerCountAllTheyHave(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 90)
	k.connect(key, endpoint(2), 10)
	sampleNow(t, m)
	k.remove(key)
	k.serve(key, ref, endpoint(1), endpoint(2))
	k.connect(key, endpoint(2), 20)
	wantCounted(t, "endpoint", sampleNow(t, m).Ports[ref].Endpoints[endpoint(2)].Counters, 30)
}

func TestEndpointsThatComeAfterTheirKeyChangedItsServiceCountAllTheyHave(t *testing.T) {
	k, m, key, _ := one(Options{})
	k.drop(key, endpoint(1))
	k.drop(key, endpoint(2))
	sampleNow(t, m)
	other := web("other", 30080)
	k.serve(key, other)
	sampleNow(t, m)
	k.serve(key, other, endpoint(1))
	k.connect(key, endpoint(1), 5)
	wantCounted(t, "endpoint", sampleNow(t, m).Ports[other].Endpoints[endpoint(1)].Counters, 5)
}

func TestWhatBelongsToNobodyIsNotCounted(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.served[key] = sync.Served{}
	k.connect(key, endpoint(1), 5)
	if s := sampleNow(t, m); len(s.Ports) != 0 {
		t.Errorf("counted: %+v", s.Ports)
	}
	k.served[key] = sync.Served{PortRef: ref}
	wantCounted(t, "once its Service is known", sampleNow(t, m).Ports[ref].Counters, 5)
	k.served[key] = sync.Served{}
	if s := sampleNow(t, m); len(s.Ports) != 0 {
		t.Errorf("counted, once its Service is not known any more: %+v", s.Ports)
	}
}
