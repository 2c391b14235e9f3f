package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func TestABurstIsOverOnceWhoWasReplacedIsGone(t *testing.T) {
	for _, c := range []struct {
		name     string
		burst    int
		set      func(*stage)
		from, to time.Duration // of the CPU time
		cut      bool
		restless bool
	}{
		{"a Service each", 4, nil, 20 * time.Second, 22 * time.Second, false, false},
		{"more changes than Services", 14, nil, 20 * time.Second, 22 * time.Second, false, false},
		{"nobody drains", 4, func(st *stage) { st.stays = 0 }, afterwork, afterwork + time.Second, false, false},
		{"one stays", 4, func(st *stage) { st.stays = time.Hour }, leavePatience, leavePatience + 5*time.Second, false, true},
		{"the machine does not rest", 4, func(st *stage) { st.quiet = false }, 45 * time.Second, 47 * time.Second, false, true},
		{"it is cut off", 4, func(st *stage) { st.latency, st.stays = 2*time.Minute, 70*time.Second }, 70 * time.Second, 72 * time.Second, true, false},
		{"of nftables nobody is asked for", 4, func(st *stage) { st.kernel = nil }, afterwork, afterwork + time.Second, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t)
			st.job.Burst = c.burst
			if c.set != nil {
				c.set(st)
			}
			if err := st.burst(t.Context()); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			all := st.emitted(t)
			if len(all) != 1 || len(all[0].Values) != 1 {
				t.Fatalf("%s: %+v", c.name, all)
			}
			s := all[0]
			if took := time.Duration(s.Values[0] * float64(time.Second)); took < c.from || took > c.to {
				t.Errorf("%s: it took %v, want %v to %v", c.name, took, c.from, c.to)
			}
			if s.AtLeast != c.cut || s.Changes != c.burst || strings.Contains(s.Note, result.NotAtRest) != c.restless || st.busy != c.restless {
				t.Errorf("%s: %+v, busy %v", c.name, s, st.busy)
			}
			changed := st.frontends(st.job.Plan.Order(stageSize)[:min(c.burst, stageSize)])
			if len(changed) != len(st.patched) {
				t.Errorf("%s: %d frontends were changed, want %d", c.name, len(st.patched), len(changed))
			}
			if !maps.Equal(st.wanted, changed) {
				t.Errorf("%s: %d frontends were waited for, want the %d that were changed", c.name, len(st.wanted), len(changed))
			}
			if st.kernel != nil && st.stays < leavePatience && !maps.Equal(st.asked, changed) {
				t.Errorf("%s: asked for %d, want the %d that were changed", c.name, len(st.asked), len(changed))
			}
		})
	}
}

func TestWhatAChangeThatWasCutOffHasLeftIsNotTheBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t)
		st.job.Burst = 4
		before := st.job.Plan.Frontends(st.job.Plan.Order(stageSize)[5])
		st.patched[before[0]] = time.Now()
		st.leaving.add(before)
		st.busy = true
		began := time.Now()
		if err := st.burst(t.Context()); err != nil {
			t.Fatal(err)
		}
		used, took := st.emitted(t)[0].Values[0], time.Since(began).Seconds()
		if used < 20 || used > 22 || took < 40 {
			t.Errorf("%v s of CPU time in %v s", used, took)
		}
	})
}

func TestChangesAreOverOnceWhoWasReplacedIsGone(t *testing.T) {
	for _, both := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t)
			st.plan = plan{changes: 3, both: both}
			began := time.Now()
			if err := st.changes(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < st.stays || took > st.stays+5*time.Second || st.busy {
				t.Errorf("both %v: %v, busy %v", both, took, st.busy)
			}
			if want := st.frontends(st.job.Plan.Order(stageSize)[:3]); !maps.Equal(st.asked, want) {
				t.Errorf("both %v: asked for %d, want the %d that were changed", both, len(st.asked), len(want))
			}
			st.emitArrival()
			for _, s := range st.emitted(t) {
				if strings.Contains(s.Note, result.NotAtRest) || len(s.Values) != 3 {
					t.Errorf("both %v: %+v", both, s)
				}
				if s.Measure == result.Arrival && both && (s.Usage == nil || s.Usage.CPU < st.stays || s.Changes != 3) {
					t.Errorf("its usage is not that until all was done: %+v", s.Usage)
				}
			}
		})
	}
}

// The program goes on with it.
func TestWhoIsReplacedByAChangeThatIsCutOffIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t)
		st.latency = time.Minute
		_, all, err := st.counted(t.Context(), 3)
		if err != nil || len(all) != 1 || !all[0].cut || !st.busy {
			t.Errorf("%+v, busy %v, %v", all, st.busy, err)
		}
		want := st.frontends(st.job.Plan.Order(stageSize)[:1])
		for key := range want {
			if _, known := st.leaving[key]; !known || len(st.leaving) != len(want) {
				t.Errorf("%v leave, want %v", st.leaving, want)
			}
		}
		if len(st.asked) > 0 {
			t.Error("what was cut off is waited for")
		}
	})
}

func TestAProgramIsBusyUntilNobodyLeavesAndTheMachineRests(t *testing.T) {
	for _, c := range []struct {
		name        string
		gone, quiet bool
		nftables    bool
		busy        bool
	}{
		{"all is done", true, true, false, false},
		{"one stays", false, true, false, true},
		{"the machine does not rest", true, false, false, true},
		{"neither", false, false, false, true},
		{"of nftables the machine is asked alone", false, true, true, false},
		{"nftables, and the machine does not rest", true, false, true, true},
	} {
		for _, before := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t)
				st.quiet, st.busy = c.quiet, before
				key := st.job.Plan.Frontends(1)[0]
				st.leaving.add([]frontend.Key{key})
				if !c.gone {
					st.patched[key], st.stays = time.Now(), time.Hour
				}
				if c.nftables {
					st.kernel = nil
				}
				began := time.Now()
				if err := st.settle(t.Context()); err != nil || st.busy != c.busy {
					t.Errorf("%s, busy before %v: busy %v, %v", c.name, before, st.busy, err)
				}
				if took := time.Since(began); took < afterwork {
					t.Errorf("%s: over after %v", c.name, took)
				}
				if note := st.atRest(result.Sample{}).Note; (note == result.NotAtRest) != c.busy {
					t.Errorf("%s: %q", c.name, note)
				}
			})
		}
	}
}

func TestAKernelThatDoesNotSayWhoLeavesEndsTheMeasurement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t)
		failure := errors.New("netlink")
		st.kernel = model{st: st, failure: failure}
		st.leaving.add(st.job.Plan.Frontends(1))
		if err := st.settle(t.Context()); !errors.Is(err, failure) {
			t.Error(err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := st.settle(ended); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTheMachineRestsAfterTwoQuietWindowsInARow(t *testing.T) {
	failure := errors.New("proc")
	const patience = 5 * time.Second
	for _, c := range []struct {
		name  string
		busy  []uint64 // ticks of 100 in each window; the last goes on for ever
		fails int      // the reading that fails; 0: none
		want  bool
		took  time.Duration
	}{
		{"nothing to do", []uint64{0}, 0, true, 2 * restWindow},
		{"little to do", []uint64{9}, 0, true, 2 * restWindow},
		{"a little more is too much", []uint64{11}, 0, false, patience},
		{"busy at first", []uint64{50, 50, 0}, 0, true, 4 * restWindow},
		{"one quiet window is not enough", []uint64{0, 50, 0, 50, 0, 0}, 0, true, 6 * restWindow},
		{"now and then", []uint64{50}, 0, false, patience},
		{"quiet at the end alone", append(slices.Repeat([]uint64{50}, int(patience/restWindow)-1), 0), 0, false, patience},
		{"it cannot be read", []uint64{0}, 1, false, 0},
		{"it cannot be read any more", []uint64{0}, 2, false, restWindow},
	} {
		synctest.Test(t, func(t *testing.T) {
			var now times
			reads := 0
			read := func() (times, error) {
				if reads++; reads == c.fails {
					return times{}, failure
				}
				if reads > 1 {
					busy := c.busy[min(reads-2, len(c.busy)-1)]
					now = times{idle: now.idle + 100 - busy, all: now.all + 100}
				}
				return now, nil
			}
			began := time.Now()
			got := awaitQuiet(t.Context(), patience, read)
			if took := time.Since(began); got != c.want || took != c.took {
				t.Errorf("%s: %v after %v, want %v after %v", c.name, got, took, c.want, c.took)
			}
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if awaitQuiet(ended, patience, func() (times, error) { return times{}, nil }) {
		t.Error("it rests where nobody waited")
	}
}

// /proc/stat's time of waiting for input and output may go back (proc(5)).
func TestIdleTimeThatGoesBackIsNoRest(t *testing.T) {
	if busy := (times{idle: 990, all: 2010}).busy(times{idle: 1000, all: 2000}); busy < restBusy {
		t.Errorf("busy %v", busy)
	}
}

func TestARestartIsTimedWithoutCountersWhereTheyWouldMatter(t *testing.T) {
	slow, quick := 7*time.Second, 3*time.Second
	for _, c := range []struct {
		name     string
		plan     plan
		latency  []time.Duration // of the first pass of each start
		launched []bool          // with counters
		value    time.Duration
		cut      bool
	}{
		{"counted and timed at once", plan{restart: true}, []time.Duration{slow}, []bool{true}, slow, false},
		{"timed apart, first", plan{restart: true, apart: true}, []time.Duration{quick, slow}, []bool{false, true}, quick, false},
		{"the counted one is cut off", plan{restart: true, apart: true}, []time.Duration{quick, time.Hour}, []bool{false, true}, quick, false},
		{"the timed one is cut off", plan{restart: true, apart: true}, []time.Duration{time.Hour, slow}, []bool{false, true}, time.Minute, true},
		{"only for what comes after it", plan{steady: true}, []time.Duration{slow}, []bool{true}, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t)
			st.plan, st.stays = c.plan, 0
			st.job.Plan.Endpoints = 3
			st.passes = func(ctx context.Context) (time.Time, error) {
				err := pause(ctx, c.latency[len(st.begun)-2])
				return time.Now(), err
			}
			if err := st.restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			begun := st.begun[1:] // the first one was there
			if len(begun) != len(c.launched) {
				t.Fatalf("%s: %d starts, want %d", c.name, len(begun), len(c.launched))
			}
			for i, a := range begun {
				if a.counted != c.launched[i] {
					t.Errorf("%s: start %d has counters: %v", c.name, i, a.counted)
				}
				if s := st.begun[i].signals; len(s) != 1 || s[0] != syscall.SIGTERM {
					t.Errorf("%s: the one before start %d got %v", c.name, i, s)
				}
				if last := i == len(begun)-1; last != a.counted || a.counted != (len(a.watched) == 2 && a.watched[0] && !a.watched[1]) {
					t.Errorf("%s: start %d was watched: %v", c.name, i, a.watched)
				}
			}
			all := st.emitted(t)
			if (len(all) == 1) != c.plan.restart {
				t.Fatalf("%s: %+v", c.name, all)
			}
			last := st.process.(*actor)
			if first := st.audit.from; first != last.started.Add(job.SyncPeriod) {
				t.Errorf("%s: the first audit is that of another start", c.name)
			}
			if c.value == 0 {
				return
			}
			s := all[0]
			if s.Values[0] != c.value.Seconds() || s.AtLeast != c.cut {
				t.Errorf("%s: %v, at least %v; want %v", c.name, s.Values, s.AtLeast, c.value)
			}
			if want := time.Since(last.started); s.Usage == nil || s.Usage.CPU != want {
				t.Errorf("%s: used %+v, want %v: that of the start with counters", c.name, s.Usage, want)
			}
		})
	}
}
