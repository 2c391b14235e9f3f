package result

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// values makes all values of a subject's measure alike, measured to their end. Its bursts are of one change.
func values(r Run, name string, m Measure, v float64) {
	change(r, name, m, func(s *Sample) {
		for i := range s.Values {
			s.Values[i] = v
		}
		s.AtLeast, s.Changes = false, min(s.Changes, 1)
	})
}

// share is how many reads of a hundred the busiest second has.
func share(r Run, of float64) {
	change(r, KubeIPVS, AuditReads, func(s *Sample) {
		left := 100.0
		for i := range s.Values {
			s.Values[i] = min(left, 100*of)
			left -= s.Values[i]
		}
	})
}

func TestEveryGoalEndsAtItsLimit(t *testing.T) {
	ratio := func(m Measure, top, bottom string) func(Run, float64) {
		return func(r Run, v float64) { values(r, top, m, v); values(r, bottom, m, 1) }
	}
	alone := func(m Measure) func(Run, float64) {
		return func(r Run, v float64) { values(r, KubeIPVS, m, v) }
	}
	seen := map[string]bool{}
	for _, c := range []struct {
		key                   string
		within, limit, beyond float64
		at                    Outcome // the limit itself
		put                   func(Run, float64)
	}{
		{"cold-kernel", 1.499, 1.5, 1.501, Reached, ratio(Programming, KubeIPVS, BareBatched)},
		{"cold-ipvs", 10.01, 10, 9.99, Reached, ratio(Cold, KubeProxyIPVS, KubeIPVS)},
		{"cold-nftables", 1.001, 1, 0.999, NotReached, ratio(Cold, KubeProxyNft, KubeIPVS)},
		{"change-ipvs", 200.1, 200, 199.9, Reached, ratio(Arrival, KubeProxyIPVS, KubeIPVS)},
		{"change-nftables", 5.01, 5, 4.99, Reached, ratio(Arrival, KubeProxyNft, KubeIPVS)},
		{"change-flat", 1.299, 1.3, 1.301, Reached, func(r Run, v float64) {
			values(r, KubeIPVS, Arrival, 1)
			change(r, KubeIPVS, Arrival, func(s *Sample) {
				if s.Size == large {
					scale(v)(s)
				}
			})
		}},
		{"change-tail", 2.99, 3, 3.01, Reached, func(r Run, v float64) {
			values(r, KubeIPVS, Arrival, 1)
			change(r, KubeIPVS, Arrival, func(s *Sample) { s.Values[0], s.Values[1] = v, v })
		}},
		{"burst-ipvs", 0.0499, 1. / 20, 0.0501, Reached, ratio(Burst, KubeIPVS, KubeProxyIPVS)},
		{"burst-nftables", 0.333, 1. / 3, 0.334, Reached, ratio(Burst, KubeIPVS, KubeProxyNft)},
		{"memory", 0.599, 0.6, 0.601, Reached, ratio(Memory, KubeIPVS, KubeProxyIPVS)},
		{"steady-writes", 0, 0, 1, Reached, func(r Run, v float64) {
			change(r, KubeIPVS, Steady, func(s *Sample) { u := *s.Usage; u.IPVSWrites = uint64(v); s.Usage = &u })
		}},
		{"steady-reads", 0.0999, 0.1, 0.1001, Reached, share},
		{"steady-cpu", 0.00499, 0.005, 0.00501, Reached, alone(SteadyNative)},
		{"datapath", 0.971, 0.97, 0.969, Reached, alone(PairRequests)},
		{"datapath", 1.029, 1.03, 1.031, Reached, alone(PairLatency)},
		{"datapath", 0.971, 0.97, 0.969, Reached, alone(PairConnects)},
		{"hooks", 1, 2, 3, Reached, func(r Run, v float64) { values(r, KubeIPVS, Hooks, v); values(r, ByHand, Hooks, 2) }},
		{"hooks", 1, 2, 3, Reached, func(r Run, v float64) { values(r, KubeIPVS, Rules, v); values(r, ByHand, Rules, 2) }},
	} {
		seen[c.key] = true
		for _, side := range []struct {
			name    string
			value   float64
			outcome Outcome
		}{{"within", c.within, Reached}, {"at", c.limit, c.at}, {"beyond", c.beyond, NotReached}} {
			run := good(t)
			c.put(run, side.value)
			if v := verdict(t, run, c.key); v.Outcome != side.outcome {
				t.Errorf("%s, %s its limit (%g): %s: %s", c.key, side.name, side.value, v.Outcome, v.measured())
			}
		}
	}
	for _, g := range goals() {
		if !seen[g.key] {
			t.Errorf("nobody knows the limit of %s", g.key)
		}
	}
}

// drop leaves out the samples that fit.
func drop(r Run, fits func(Sample) bool) Run {
	r.Samples = slices.DeleteFunc(slices.Clone(r.Samples), fits)
	return r
}

func finding(t *testing.T, r Run, key string, size int) Finding {
	t.Helper()
	v := verdict(t, r, key)
	i := slices.IndexFunc(v.Findings, func(f Finding) bool { return f.Where == at(size) })
	if i < 0 {
		t.Fatalf("%s says nothing %s: %s", key, at(size), v.measured())
	}
	return v.Findings[i]
}

func TestASizeThatWasNotRunIsNotMeasured(t *testing.T) {
	of := map[string][]int{
		"cold-kernel": {medium, large}, "cold-ipvs": {medium, large}, "cold-nftables": {medium, large},
		"change-ipvs": {medium}, "change-nftables": {small, medium, large}, "change-tail": {small, medium, large},
		"burst-nftables": {large}, "memory": {large}, "steady-writes": {large}, "steady-reads": {large}, "steady-cpu": {large},
	}
	for key, sizes := range of {
		for _, size := range []int{small, medium, large} {
			run := drop(good(t), func(s Sample) bool { return s.Size == size })
			want := Reached
			if slices.Contains(sizes, size) {
				want = NotMeasured
				if f := finding(t, run, key, size); f.Outcome != NotMeasured || f.Measured != string(NotMeasured) {
					t.Errorf("%s %s: %s: %s", key, at(size), f.Outcome, f.Measured)
				}
			}
			if v := verdict(t, run, key); v.Outcome != want {
				t.Errorf("%s without %d Services: %s, not %s", key, size, v.Outcome, want)
			}
		}
	}
	for _, size := range []int{small, large} {
		if v := verdict(t, drop(good(t), func(s Sample) bool { return s.Size == size }), "change-flat"); v.Outcome != NotMeasured {
			t.Errorf("change-flat without %d Services: %s", size, v.Outcome)
		}
	}
}

// A run has ipvs.Apply in the benchmark's process, and may have the agent's own account: a reader must know which one he sees.
func TestEveryAccountOfProgrammingSaysWhatItIs(t *testing.T) {
	for _, note := range []string{"ipvs.Apply alone", "its own account of the first pass"} {
		others := func(s Sample) bool { return s.Subject == KubeIPVS && s.Measure == Programming && s.Note != note }
		run := drop(good(t), others)
		v := verdict(t, run, "cold-kernel")
		if v.Outcome != Reached || len(v.Findings) != 2 {
			t.Errorf("%s alone: %s: %s", note, v.Outcome, v.measured())
		}
		for _, f := range v.Findings {
			if !strings.HasSuffix(f.Measured, ": "+note) {
				t.Errorf("%q does not end with %q", f.Measured, note)
			}
		}
		change(run, KubeIPVS, Programming, func(s *Sample) { s.Note = "" })
		if v := verdict(t, run, "cold-kernel"); v.Outcome != NotMeasured {
			t.Errorf("nobody knows of what: %s: %s", v.Outcome, v.measured())
		}
	}
}

// The lowest period counts where the goal says so, though another one is quicker or the lowest was not measured.
func TestTheLowestPeriodIsTheLowest(t *testing.T) {
	set := func(r Run, m Measure, zero, one float64) {
		for i := range r.Samples {
			switch s := &r.Samples[i]; {
			case s.Measure != m:
			case s.Subject == KubeIPVS:
				s.Values = slices.Repeat([]float64{1}, len(s.Values))
			case s.Subject == KubeProxyNft+"/0s":
				s.Values = slices.Repeat([]float64{zero}, len(s.Values))
			case s.Subject == KubeProxyNft+"/1s":
				s.Values = slices.Repeat([]float64{one}, len(s.Values))
			}
		}
	}
	for _, c := range []struct {
		key       string
		measure   Measure
		zero, one float64
		without   string
		want      Outcome
	}{
		{"change-nftables", Arrival, 6, 4, "", Reached},
		{"change-nftables", Arrival, 4, 6, "", NotReached},
		{"change-nftables", Arrival, 6, 6, "/0s", NotMeasured},
		{"change-nftables", Arrival, 6, 4, "/1s", Reached},
		{"cold-nftables", Cold, 2, 0.5, "", NotReached},
		{"cold-nftables", Cold, 0.5, 2, "", NotReached},
		{"cold-nftables", Cold, 0.5, 2, "/0s", Reached},
		{"cold-nftables", Cold, 2, 0.5, "/0s", NotReached},
		{"cold-nftables", Cold, 2, 0.5, "/1s", Reached},
	} {
		run := good(t)
		set(run, c.measure, c.zero, c.one)
		run = drop(run, func(s Sample) bool {
			return c.without != "" && s.Subject == KubeProxyNft+c.without && s.Measure == c.measure && s.Size == medium
		})
		if f := finding(t, run, c.key, medium); f.Outcome != c.want {
			t.Errorf("%s with %g at 0s and %g at 1s, without %q: %s: %s", c.key, c.zero, c.one, c.without, f.Outcome, f.Measured)
		}
	}
}

func TestLessThanAMinuteIsNoMinute(t *testing.T) {
	shorter := func(s *Sample) { s.Watched = time.Minute - time.Millisecond }
	run := good(t)
	change(run, KubeIPVS, Steady, shorter)
	if v := verdict(t, run, "steady-writes"); v.Outcome != NotMeasured {
		t.Errorf("steady-writes: %s: %s", v.Outcome, v.measured())
	}
	if v := verdict(t, run, "steady-cpu"); v.Outcome != Reached {
		t.Errorf("without emulation it was a minute: %s: %s", v.Outcome, v.measured())
	}
	change(run, KubeIPVS, SteadyNative, shorter)
	if v := verdict(t, run, "steady-cpu"); v.Outcome != NotMeasured {
		t.Errorf("steady-cpu: %s: %s", v.Outcome, v.measured())
	}
	// One of two minutes was cut short.
	run = good(t)
	half := run.Samples[slices.IndexFunc(run.Samples, func(s Sample) bool { return s.Subject == KubeIPVS && s.Measure == Steady })]
	half.Watched /= 2
	run.Samples = append(run.Samples, half)
	if v := verdict(t, run, "steady-writes"); v.Outcome != NotMeasured {
		t.Errorf("a minute and a half: %s: %s", v.Outcome, v.measured())
	}
	run = good(t)
	change(run, KubeIPVS, AuditReads, func(s *Sample) { s.Values = s.Values[:59] })
	if v := verdict(t, run, "steady-reads"); v.Outcome != NotMeasured {
		t.Errorf("59 seconds of reads: %s: %s", v.Outcome, v.measured())
	}
}

// Emulated, a minute takes more CPU time than without: below the limit it is reached, above it nobody knows.
func TestAnEmulatedMinuteCanOnlyReach(t *testing.T) {
	for used, want := range map[float64]Outcome{0.299: Reached, 0.301: Undecided} {
		run := drop(good(t), func(s Sample) bool { return s.Measure == SteadyNative })
		values(run, KubeIPVS, Steady, used)
		if v := verdict(t, run, "steady-cpu"); v.Outcome != want {
			t.Errorf("%g s: %s: %s", used, v.Outcome, v.measured())
		}
	}
}

// A share that was measured over a model of the kernel says so, and what it would be with the kernel at most, where that is known.
func TestANativeMinuteSaysWhatIsNotInIt(t *testing.T) {
	const native = "0.100 % of a core over a model of the kernel; the kernel's own part, and decoding its answers, are not in it"
	run := good(t)
	for want, run := range map[string]Run{
		native + "; with them, emulated, 1.22 %": run,
		native:                                   drop(run, func(s Sample) bool { return s.Subject == KubeIPVS && s.Measure == Steady }),
	} {
		if f := finding(t, run, "steady-cpu", large); f.Measured != want || f.Outcome != Reached {
			t.Errorf("%s: %q, not %q", f.Outcome, f.Measured, want)
		}
	}
}

// Of few Services, no goal speaks.
func TestANativeMinuteOfFewServicesDecidesNothing(t *testing.T) {
	run := drop(good(t), func(s Sample) bool { return s.Measure == Steady })
	change(run, KubeIPVS, SteadyNative, func(s *Sample) { s.Size = medium })
	if v := verdict(t, run, "steady-cpu"); v.Outcome != NotMeasured {
		t.Errorf("%s: %s", v.Outcome, v.measured())
	}
}

// Hooks are compared packet by packet: of which packet there is no count, nothing is known.
func TestPacketsThatWereNotCountedAreNotMeasured(t *testing.T) {
	for _, subject := range []string{KubeIPVS, ByHand} {
		run := good(t)
		change(run, subject, Hooks, func(s *Sample) { s.Values = s.Values[:2] })
		v := verdict(t, run, "hooks")
		if v.Outcome != NotMeasured {
			t.Errorf("two packets of %s: %s: %s", subject, v.Outcome, v.measured())
		}
	}
}
