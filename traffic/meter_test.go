package traffic

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// one is a kernel with one Service port on one address, with two endpoints, and a Meter of it.
func one(o Options) (*kernel, *Meter, frontend.Key, sync.PortRef) {
	k, key, ref := newKernel(), virtualServer(1, 30080), web("web", 30080)
	k.serve(key, ref, endpoint(1), endpoint(2))
	return k, NewMeter(k, k.serving, o), key, ref
}

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

func TestWhatBelongsToNobodyIsNotCounted(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.served[key] = sync.Served{}
	k.connect(key, endpoint(1), 5)
	if s := sampleNow(t, m); len(s.Ports) != 0 {
		t.Errorf("counted: %+v", s.Ports)
	}
	k.served[key] = sync.Served{PortRef: ref}
	wantCounted(t, "once its Service is known", sampleNow(t, m).Ports[ref].Counters, 5)
}

func TestRealServersAreReadOnlyWhereThereWasTraffic(t *testing.T) {
	k, m, key, ref := one(Options{})
	idle := virtualServer(1, 30081)
	k.serve(idle, web("idle", 30081), endpoint(1))
	p := sampleNow(t, m).Ports[ref]
	if asked := k.questions(); asked != nil || !p.Endpoints[endpoint(1)].Counted {
		t.Errorf("asked for %v, counted %v, without any traffic", asked, p.Endpoints[endpoint(1)].Counted)
	}
	k.connect(key, endpoint(1), 1)
	sampleNow(t, m)
	if diff := cmp.Diff([]frontend.Key{key}, k.questions(), cmp.Comparer(func(a, b frontend.Key) bool { return a == b })); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	sampleNow(t, m)
	if asked := k.questions(); asked != nil {
		t.Errorf("asked again, without traffic, for %v", asked)
	}
	k.serve(key, ref, endpoint(3))
	sampleNow(t, m)
	if asked := k.questions(); len(asked) != 1 {
		t.Errorf("with a new endpoint, asked for %v", asked)
	}
}

func TestRealServersThatTellLaterThanTheirVirtualServerAreReadOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, m, key, ref := one(Options{})
		k.virtuals[key] = connections(5)
		read := func(wait time.Duration, questions int, want uint64) {
			t.Helper()
			time.Sleep(wait)
			wantCounted(t, "endpoint", sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)].Counters, want)
			if asked := k.questions(); len(asked) != questions {
				t.Errorf("asked for %v", asked)
			}
		}
		read(0, 1, 0)
		k.set(key, endpoint(1), func(r *ipvs.RealStats) { r.Counters = connections(5) })
		read(time.Second, 0, 0)
		read(2*time.Second, 1, 5)
		read(time.Hour, 0, 5)
		k.connect(key, endpoint(1), 1)
		read(time.Hour, 1, 6)
		read(time.Hour, 1, 6)
		read(time.Hour, 0, 6)
	})
}

func TestARoundAsksForSoManyAndTheOthersComeNext(t *testing.T) {
	k, m, _, _ := one(Options{MaxReads: 2})
	var keys []frontend.Key
	for i := range uint16(5) {
		key := virtualServer(1, 30080+i)
		keys = append(keys, key)
		k.serve(key, web(string(rune('a'+i)), 30080+i), endpoint(1))
	}
	rounds := [][]frontend.Key{keys[0:2], keys[2:4], {keys[4], keys[0]}, keys[1:3]}
	for n, want := range rounds {
		for _, key := range keys {
			k.connect(key, endpoint(1), 1)
		}
		sampleNow(t, m)
		if diff := cmp.Diff(want, k.questions(), cmp.Comparer(func(a, b frontend.Key) bool { return a == b })); diff != "" {
			t.Errorf("round %d (-want +got):\n%s", n, diff)
		}
	}
	if reads := m.Reads(); reads != (Reads{Virtuals: 4, Use: 4, Reals: 8}) {
		t.Errorf("counted %+v", reads)
	}
}

func TestAnEndpointIsCountedOnceAllItsAddressesWereRead(t *testing.T) {
	k, m, key, ref := one(Options{MaxReads: 1})
	other := virtualServer(2, 30080)
	k.serve(other, ref, endpoint(1))
	k.connect(key, endpoint(1), 5)
	k.connect(other, endpoint(1), 7)
	if e := sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)]; e.Counted || e.Counters != (ipvs.Counters{}) {
		t.Errorf("one address of two was read: %+v", e)
	}
	if e := sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)]; !e.Counted || e.Counters != connections(12) {
		t.Errorf("both addresses were read: %+v", e)
	}
	third := virtualServer(3, 30080)
	k.serve(third, ref, endpoint(1))
	k.connect(third, endpoint(1), 1)
	k.connect(key, endpoint(1), 1)
	if e := sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)]; !e.Counted {
		t.Error("with a new address it does not count any more")
	}
}

func TestTheServiceThatIsAskedForIsReadNow(t *testing.T) {
	k, m, _, _ := one(Options{MaxReads: 1})
	for i := range uint16(3) {
		key := virtualServer(1, 30080+i)
		k.serve(key, web(string(rune('a'+i)), 30080+i), endpoint(1))
		k.connect(key, endpoint(1), 1)
	}
	asked := web("c", 30082)
	s, err := m.SampleOf(t.Context(), time.Hour, asked.Service)
	if err != nil {
		t.Fatal(err)
	}
	wantCounted(t, "the one asked for", s.Ports[asked].Endpoints[endpoint(1)].Counters, 1)
	if reads := m.Reads().Reals; reads != 1 {
		t.Errorf("%d readings, want one", reads)
	}
	if _, err := m.SampleOf(t.Context(), time.Hour, asked.Service); err != nil || m.Reads().Virtuals != 1 {
		t.Errorf("error %v, and %d rounds: want the sample that is there", err, m.Reads().Virtuals)
	}
	waiting := web("b", 30081)
	if s, err = m.SampleOf(t.Context(), time.Hour, waiting.Service); err != nil {
		t.Fatal(err)
	}
	wantCounted(t, "one that waited", s.Ports[waiting].Endpoints[endpoint(1)].Counters, 1)
}

func TestASampleIsAsOldAsItMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, m, key, ref := one(Options{})
		first := sampleNow(t, m)
		k.connect(key, endpoint(1), 1)
		time.Sleep(time.Second)
		s, err := m.Sample(t.Context(), time.Second)
		if err != nil || !s.Time.Equal(first.Time) || k.dumps != 1 {
			t.Errorf("a second old: error %v, %d dumps", err, k.dumps)
		}
		time.Sleep(time.Millisecond)
		if s, err = m.Sample(t.Context(), time.Second); err != nil || k.dumps != 2 || !s.Time.Equal(time.Now()) {
			t.Errorf("older than a second: error %v, %d dumps", err, k.dumps)
		}
		wantCounted(t, "new sample", s.Ports[ref].Counters, 1)
		wantCounted(t, "old sample", first.Ports[ref].Counters, 0)
	})
}

func TestCallersAtTheSameTimeShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, m, _, _ := one(Options{})
		k.answer(func(context.Context) error { time.Sleep(time.Second); return nil })
		errs := make(chan error)
		for range 20 {
			go func() { _, err := m.Sample(t.Context(), time.Minute); errs <- err }()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if k.dumps != 1 {
			t.Errorf("%d dumps for 20 callers, want one", k.dumps)
		}
		// Who wants it of now cannot do with a round that has begun before: all those wait for one more.
		go func() { _, err := m.Sample(t.Context(), 0); errs <- err }()
		time.Sleep(time.Second / 2)
		for range 20 {
			go func() { _, err := m.SampleOf(t.Context(), 0, web("web", 30080).Service); errs <- err }()
		}
		for range 21 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if k.dumps != 3 {
			t.Errorf("%d dumps, want one, one, and one for the 20 that came during it", k.dumps)
		}
	})
}

func TestOneWhoLeavesTakesTheReadingFromNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, m, _, _ := one(Options{})
		k.answer(func(ctx context.Context) error { time.Sleep(time.Second); return ctx.Err() })
		impatient, leave := context.WithTimeout(t.Context(), time.Second/2)
		defer leave()
		left := make(chan error, 1)
		go func() { _, err := m.Sample(impatient, 0); left <- err }()
		synctest.Wait()
		if _, err := m.Sample(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := <-left; !errors.Is(err, context.DeadlineExceeded) || k.dumps != 1 {
			t.Errorf("who left got %v, %d dumps", err, k.dumps)
		}
	})
}

func TestAFailureKeepsTheLastSampleAndIsCounted(t *testing.T) {
	k, m, key, ref := one(Options{})
	k.connect(key, endpoint(1), 5)
	before := sampleNow(t, m)
	refused := errors.New("refused")
	k.err = refused
	k.connect(key, endpoint(1), 1)
	s, err := m.Sample(t.Context(), 0)
	if !errors.Is(err, refused) || !s.Time.Equal(before.Time) || s.Ports[ref].Counters != connections(5) {
		t.Errorf("error %v, sample %+v", err, s)
	}
	if n := m.Reads().Errors; n != 1 {
		t.Errorf("%d errors counted, want one", n)
	}
	k.err = nil
	wantCounted(t, "after it", sampleNow(t, m).Ports[ref].Counters, 6)
}

func TestARealServerThatCannotBeReadKeepsNothingElseBack(t *testing.T) {
	k, m, key, ref := one(Options{})
	other, broken := web("z", 30081), errors.New("broken")
	k.serve(virtualServer(1, 30081), other, endpoint(1))
	k.connect(key, endpoint(1), 5)
	k.connect(virtualServer(1, 30081), endpoint(1), 7)
	k.realsErr[virtualServer(1, 30081)] = broken
	s, err := m.Sample(t.Context(), 0)
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	wantCounted(t, "port", s.Ports[other].Counters, 7)
	wantCounted(t, "endpoint that was read", s.Ports[ref].Endpoints[endpoint(1)].Counters, 5)
	if s.Ports[other].Endpoints[endpoint(1)].Counted {
		t.Error("an endpoint counts that could not be read")
	}
	delete(k.realsErr, virtualServer(1, 30081))
	if s, err = m.SampleOf(t.Context(), time.Hour, other.Service); err != nil {
		t.Fatal(err)
	}
	wantCounted(t, "endpoint that could be read later", s.Ports[other].Endpoints[endpoint(1)].Counters, 7)
}

func TestAKernelThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, m, _, _ := one(Options{})
		k.answer(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if s, err := m.Sample(ctx, 0); !errors.Is(err, context.DeadlineExceeded) || !s.Time.IsZero() || time.Since(began) != time.Second {
			t.Errorf("after %v: error %v, sample %+v", time.Since(began), err, s)
		}
		// Without a deadline of its own, a caller waits for the end of the round.
		if _, err := m.Sample(t.Context(), time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != roundLimit {
			t.Errorf("after %v: error %v", time.Since(began), err)
		}
	})
}
