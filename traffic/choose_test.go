package traffic

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

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
	for _, n := range []byte{3, 4} {
		k.serve(virtualServer(n, 30080), ref, endpoint(1))
		k.connect(virtualServer(n, 30080), endpoint(1), 1)
	}
	if e := sampleNow(t, m).Ports[ref].Endpoints[endpoint(1)]; !e.Counted || e.Counters != connections(13) {
		t.Errorf("of two new addresses one was read: %+v", e)
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
	for n := range byte(3) {
		k.serve(virtualServer(n+1, 30082), asked, endpoint(1))
		k.connect(virtualServer(n+1, 30082), endpoint(1), 1)
	}
	if s, err = m.SampleOf(t.Context(), 0, asked.Service); err != nil {
		t.Fatal(err)
	}
	wantCounted(t, "one with more addresses than a round has readings", s.Ports[asked].Endpoints[endpoint(1)].Counters, 4)
}
