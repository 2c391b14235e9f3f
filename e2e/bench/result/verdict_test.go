package result

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// sampleRun is a run that was made up for tests, with everything in it that a run can have.
func sampleRun(t *testing.T) Run {
	t.Helper()
	return readRun(t, filepath.Join("testdata/docs", runFile))
}

func readRun(t *testing.T, path string) Run {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	run, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// good is a run in which every goal is reached.
func good(t *testing.T) Run {
	t.Helper()
	run := sampleRun(t)
	change(run, KubeIPVS, Rules, func(s *Sample) { s.Values = []float64{1, 0, 0, 0} })
	change(run, KubeProxyIPVS, Cold, func(s *Sample) { s.AtLeast = false })
	return run
}

// change changes the samples of a subject, with all of its sync periods.
func change(r Run, name string, m Measure, by func(*Sample)) {
	for i := range r.Samples {
		if base, _ := splitSubject(r.Samples[i].Subject); base == name && r.Samples[i].Measure == m {
			s := &r.Samples[i]
			s.Values = slices.Clone(s.Values)
			by(s)
		}
	}
}

func scale(factor float64) func(*Sample) {
	return func(s *Sample) {
		for i := range s.Values {
			s.Values[i] *= factor
		}
	}
}

func verdict(t *testing.T, r Run, key string) Verdict {
	t.Helper()
	for _, v := range r.Verdicts() {
		if v.Key == key {
			return v
		}
	}
	t.Fatalf("there is no goal %s", key)
	return Verdict{}
}

// spoilers are a way to miss each goal.
func spoilers() map[string]func(Run) {
	ours := func(m Measure, factor float64) func(Run) {
		return func(r Run) { change(r, KubeIPVS, m, scale(factor)) }
	}
	return map[string]func(Run){
		"cold-kernel":     ours(Programming, 1.2),
		"cold-ipvs":       func(r Run) { change(r, KubeProxyIPVS, Cold, scale(0.2)) },
		"cold-nftables":   ours(Cold, 12),
		"change-ipvs":     func(r Run) { change(r, KubeProxyIPVS, Arrival, func(s *Sample) { s.AtLeast = false; scale(0.001)(s) }) },
		"change-nftables": ours(Arrival, 100),
		"change-flat": func(r Run) {
			change(r, KubeIPVS, Arrival, func(s *Sample) {
				if s.Size == large {
					scale(1.5)(s)
				}
			})
		},
		"change-tail":    func(r Run) { change(r, KubeIPVS, Arrival, func(s *Sample) { s.Values[0], s.Values[1] = 1, 1 }) },
		"burst-ipvs":     ours(Burst, 100),
		"burst-nftables": ours(Burst, 10),
		"memory":         ours(Memory, 1.2),
		"steady-writes": func(r Run) {
			change(r, KubeIPVS, Steady, func(s *Sample) { u := *s.Usage; u.IPVSWrites++; s.Usage = &u })
		},
		"steady-reads": func(r Run) { change(r, KubeIPVS, AuditReads, func(s *Sample) { s.Values[3] *= 10 }) },
		"steady-cpu":   ours(SteadyNative, 10),
		"datapath": func(r Run) {
			change(r, KubeIPVS, PairConnects, func(s *Sample) {
				if s.Family == "ipv6" {
					scale(0.9)(s)
				}
			})
		},
		"hooks": func(r Run) { change(r, KubeIPVS, Hooks, func(s *Sample) { s.Values[2]++ }) },
	}
}

func TestEveryGoalCanBeReachedAndMissed(t *testing.T) {
	spoil := spoilers()
	for _, g := range goals() {
		t.Run(g.key, func(t *testing.T) {
			if v := verdict(t, good(t), g.key); v.Outcome != Reached {
				t.Errorf("a good run: %s: %s", v.Outcome, v.measured())
			}
			if spoil[g.key] == nil {
				t.Fatal("nobody knows how to miss it")
			}
			bad := good(t)
			spoil[g.key](bad)
			if v := verdict(t, bad, g.key); v.Outcome != NotReached {
				t.Errorf("a bad run: %s: %s", v.Outcome, v.measured())
			}
		})
	}
}

func TestWhatWasNotMeasuredIsNotReached(t *testing.T) {
	for _, v := range (Run{}).Verdicts() {
		if v.Outcome != NotMeasured {
			t.Errorf("%s without samples: %s", v.Key, v.Outcome)
		}
	}
	// Each measure of ours is missed by a goal, and no goal takes another one for it.
	for _, m := range []Measure{Cold, Programming, Arrival, Burst, Memory, AuditReads, PairRequests, PairLatency, PairConnects, Hooks, Rules} {
		run := good(t)
		without := slices.DeleteFunc(slices.Clone(run.Samples), func(s Sample) bool { return s.Measure == m && s.Subject == KubeIPVS })
		before, after := run.Verdicts(), Run{Samples: without}.Verdicts()
		missed := false
		for i := range before {
			missed = missed || after[i].Outcome == NotMeasured
			if after[i].Outcome != before[i].Outcome && after[i].Outcome != NotMeasured {
				t.Errorf("%s without %s: %s", after[i].Key, m, after[i].Outcome)
			}
		}
		if !missed {
			t.Errorf("nobody misses %s", m)
		}
	}
}

func TestFewValuesMakeNoPercentile(t *testing.T) {
	run := good(t)
	change(run, KubeIPVS, Arrival, func(s *Sample) { s.Values = s.Values[:enough-1] })
	change(run, KubeIPVS, PairLatency, func(s *Sample) { s.Values = s.Values[:enough-1] })
	for _, key := range []string{"change-flat", "change-tail", "datapath"} {
		if v := verdict(t, run, key); v.Outcome != NotMeasured {
			t.Errorf("%s: %s", key, v.Outcome)
		}
	}
	if v := verdict(t, run, "change-nftables"); v.Outcome != Reached {
		t.Errorf("a median needs no %d values: %s", enough, v.Outcome)
	}
}

// The CPU time of a process is known without counting: then no write was seen because nobody looked.
func TestUncountedIsNotZero(t *testing.T) {
	run := good(t)
	change(run, KubeIPVS, Steady, func(s *Sample) { s.Usage = &Usage{CPU: time.Second} })
	if v := verdict(t, run, "steady-writes"); v.Outcome != NotMeasured {
		t.Errorf("nothing was counted: %s", v.Outcome)
	}
	run = good(t)
	change(run, KubeIPVS, Steady, func(s *Sample) { u := *s.Usage; u.IPVSReads = 0; s.Usage = &u })
	if v := verdict(t, run, "steady-writes"); v.Outcome != NotMeasured {
		t.Errorf("no audit was in it: %s", v.Outcome)
	}
	run = good(t)
	change(run, KubeIPVS, Steady, func(s *Sample) { u := *s.Usage; u.Syscalls = 0; s.Usage = &u })
	if v := verdict(t, run, "steady-writes"); v.Outcome != NotMeasured {
		t.Errorf("an audit was in it, but nothing was counted: %s", v.Outcome)
	}
}

func TestLowerBoundsCountForOneSideOnly(t *testing.T) {
	cut := func(s *Sample) { s.AtLeast = true }
	for _, c := range []struct {
		name    string
		key     string
		run     func(Run)
		outcome Outcome
	}{
		{"they were cut off, far behind", "cold-ipvs", func(r Run) { change(r, KubeProxyIPVS, Cold, cut) }, Reached},
		{"they were cut off, not far enough behind", "cold-ipvs", func(r Run) { change(r, KubeProxyIPVS, Cold, func(s *Sample) { cut(s); scale(0.1)(s) }) }, Undecided},
		{"we were cut off, ahead", "cold-ipvs", func(r Run) { change(r, KubeIPVS, Cold, cut) }, Undecided},
		{"we were cut off, behind", "cold-nftables", func(r Run) { change(r, KubeIPVS, Cold, func(s *Sample) { cut(s); scale(100)(s) }) }, NotReached},
		{"both were cut off", "cold-nftables", func(r Run) { change(r, KubeIPVS, Cold, cut); change(r, KubeProxyNft, Cold, cut) }, Undecided},
		{"our memory is at least that", "memory", func(r Run) { change(r, KubeIPVS, Memory, cut) }, Undecided},
		{"our minute was cut off", "steady-writes", func(r Run) { change(r, KubeIPVS, Steady, cut) }, Undecided},
		{"our minute was cut off after a write", "steady-writes", func(r Run) { spoilers()["steady-writes"](r); change(r, KubeIPVS, Steady, cut) }, NotReached},
		{"our hooks are at least those", "hooks", func(r Run) { change(r, KubeIPVS, Hooks, cut) }, Undecided},
		{"our p99 is at least that", "change-tail", func(r Run) {
			for _, size := range []int{small, medium, large} {
				r.Samples[slices.IndexFunc(r.Samples, func(s Sample) bool { return s.Measure == Arrival && s.Size == size })].AtLeast = true
			}
		}, Undecided},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := good(t)
			c.run(run)
			if v := verdict(t, run, c.key); v.Outcome != c.outcome {
				t.Errorf("%s: %s, not %s: %s", c.key, v.Outcome, c.outcome, v.measured())
			}
		})
	}
}

// What is decided of a run that was cut off here and there is what its whole would have come to.
func TestCuttingOffDecidesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	decided := 0
	for range 80 {
		whole := good(t)
		for i := range whole.Samples {
			s := &whole.Samples[i]
			s.AtLeast = false
			scale(0.5 + 2*random.Float64())(s)
		}
		part := Run{Samples: slices.Clone(whole.Samples)}
		for i := range part.Samples {
			if s := &part.Samples[i]; random.IntN(4) == 0 {
				s.Values, s.AtLeast = slices.Clone(s.Values), true
				scale(random.Float64())(s)
			}
		}
		truth := whole.Verdicts()
		for i, v := range part.Verdicts() {
			if v.Outcome != Reached && v.Outcome != NotReached {
				continue
			}
			decided++
			if truth[i].Outcome != v.Outcome {
				t.Fatalf("%s: %s, but the whole run: %s\n%s\n%s", v.Key, v.Outcome, truth[i].Outcome, v.measured(), truth[i].measured())
			}
		}
	}
	if decided < 300 {
		t.Errorf("only %d verdicts were decided: this test sees nothing", decided)
	}
}

func TestEveryExplanationIsOfAGoal(t *testing.T) {
	files, err := written.ReadDir("why")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		known := f.Name() == "README.md" || slices.ContainsFunc(goals(), func(g goal) bool {
			return g.key+".md" == f.Name() || g.key+"-undecided.md" == f.Name()
		})
		if !known {
			t.Errorf("why/%s explains nothing that was asked for", f.Name())
		}
	}
}

func TestWhatIsUndecidedIsNoExplanationOfWhatIsNotReached(t *testing.T) {
	for outcome, want := range map[Outcome]bool{Undecided: true, NotReached: false, NotMeasured: false} {
		if got := (Verdict{Key: "memory", Outcome: outcome}).explanation() != ""; got != want {
			t.Errorf("%s: explained is %v", outcome, got)
		}
	}
	tail := Verdict{Key: "change-tail", Outcome: NotReached}
	undecided := Verdict{Key: "change-tail", Outcome: Undecided}
	if why := tail.explanation(); why == "" || why != undecided.explanation() {
		t.Errorf("a goal with one text alone has it whether undecided or not reached, not %q and %q", why, undecided.explanation())
	}
}

func TestExplanationsStandOnlyWhereAGoalIsNotReached(t *testing.T) {
	why := func(v Verdict) (string, error) {
		if v.Key == "c" {
			return "", nil
		}
		return "because of " + v.Key, nil
	}
	text, err := explanations([]Verdict{{Key: "a", Asked: "A", Outcome: Reached}, {Key: "b", Asked: "B", Outcome: NotReached}, {Key: "c", Asked: "C", Outcome: NotReached}}, why)
	if want := "**B: not reached.** because of b\n"; text != want || err != nil {
		t.Errorf("%q (%v), not %q", text, err, want)
	}
}
