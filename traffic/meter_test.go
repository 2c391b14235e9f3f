package traffic

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// one is a kernel with one Service port on one address, with two endpoints, and a Meter of it.
func one(o Options) (*kernel, *Meter, frontend.Key, sync.PortRef) {
	k, key, ref := newKernel(), virtualServer(1, 30080), web("web", 30080)
	k.serve(key, ref, endpoint(1), endpoint(2))
	return k, NewMeter(k, k.serving, o), key, ref
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

// An agent that has just started, or serves nothing, has no counters to tell.
func TestWhereNothingIsServedTheKernelIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		m := NewMeter(k, k.serving, Options{})
		if s := sampleNow(t, m); s.Time.IsZero() || len(s.Ports) > 0 {
			t.Errorf("%+v", s)
		}
		if reads := m.Reads(); k.dumps > 0 || reads != (Reads{}) {
			t.Errorf("%d dumps, %+v", k.dumps, reads)
		}
		key, ref := virtualServer(1, 30080), web("web", 30080)
		k.serve(key, ref, endpoint(1))
		k.connect(key, endpoint(1), 2)
		time.Sleep(time.Minute)
		s := sampleNow(t, m)
		if _, there := s.Ports[ref]; k.dumps != 1 || !there {
			t.Errorf("%d dumps, %+v", k.dumps, s)
		}
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

func TestRealServersAreReadForThoseWhoAskIfForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, m, key, ref := one(Options{OnlyAsked: true})
		k.connect(key, endpoint(1), 3)
		s := sampleNow(t, m)
		wantCounted(t, "the port", s.Ports[ref].Counters, 3)
		if n := m.Reads().Reals; n != 0 {
			t.Errorf("%d readings of real servers for nobody", n)
		}
		s, err := m.SampleOf(t.Context(), 0, ref.Service)
		if err != nil || m.Reads().Reals != 1 {
			t.Errorf("asked for, they were read %d times, %v", m.Reads().Reals, err)
		}
		wantCounted(t, "the endpoint", s.Ports[ref].Endpoints[endpoint(1)].Counters, 3)
	})
}
