package result

import (
	"slices"
	"strings"
	"testing"
)

func busy(s *Sample) { s.Note = "something; " + NotAtRest }

// What a program holds that still has something to do is more than at rest, or less of one that has not written everything: a goal that
// stands or falls with that is not decided.
func TestMemoryOfABusyProgramDecidesNothingInItsFavour(t *testing.T) {
	ours := func(r Run, m Measure, by func(*Sample)) { change(r, KubeIPVS, m, by) }
	theirs := func(r Run, m Measure, by func(*Sample)) { change(r, KubeProxyIPVS, m, by) }
	cut := func(s *Sample) { s.AtLeast = true }
	for _, c := range []struct {
		name   string
		who    func(Run, Measure, func(*Sample))
		of     Measure
		what   func(*Sample)
		factor float64 // of our memory
		want   Outcome
		says   string
	}{
		{"they were busy, we hold less", theirs, Memory, busy, 1, Undecided, KubeProxyIPVS + "/1s had not come to rest"},
		{"they were busy, we hold more all the same", theirs, Memory, busy, 1.2, NotReached, KubeProxyIPVS + "/1s had not come to rest"},
		{"we were busy, and hold less all the same", ours, Memory, busy, 1, Reached, KubeIPVS + " had not come to rest"},
		{"we were busy, and hold more", ours, Memory, busy, 1.2, Undecided, KubeIPVS + " had not come to rest"},
		{"they were cut off, we hold less", theirs, Cold, cut, 1, Undecided, unfinished},
		{"they were cut off, we hold more", theirs, Cold, cut, 1.2, Undecided, unfinished},
		{"nobody was busy", ours, Patch, busy, 1, Reached, "one value each"},
	} {
		run := good(t)
		change(run, KubeIPVS, Memory, scale(c.factor))
		c.who(run, c.of, c.what)
		f := finding(t, run, "memory", large)
		if f.Outcome != c.want || !strings.Contains(f.Measured, c.says) {
			t.Errorf("%s: %s: %s", c.name, f.Outcome, f.Measured)
		}
	}
}

func TestChangesOfABusyProgramAreNotCountedAsOne(t *testing.T) {
	const says = KubeProxyIPVS + "/1s was still busy with what came before: its counts are not of one change"
	run := good(t)
	change(run, KubeProxyIPVS, Arrival, func(s *Sample) { s.Note = "" })
	if f := finding(t, run, "change-ipvs", medium); strings.Contains(f.Measured, "busy") {
		t.Errorf("nobody was busy: %s", f.Measured)
	}
	change(run, KubeProxyIPVS, Arrival, busy)
	if f := finding(t, run, "change-ipvs", medium); !strings.HasSuffix(f.Measured, says) {
		t.Errorf("%q does not end with %q", f.Measured, says)
	}
}

func TestABurstThatDidNotEndIsNotDecided(t *testing.T) {
	for _, subject := range []string{KubeIPVS, KubeProxyIPVS} {
		run := good(t)
		change(run, subject, Burst, busy)
		if f := finding(t, run, "burst-ipvs", small); f.Outcome != Undecided || !strings.Contains(f.Measured, "had not come to rest") {
			t.Errorf("%s: %s: %s", subject, f.Outcome, f.Measured)
		}
	}
}

// What is written in a minute that began too early may be of what came before it.
func TestAMinuteThatBeganBusyDoesNotFail(t *testing.T) {
	for writes, want := range map[uint64]Outcome{0: Reached, 461: Undecided} {
		run := good(t)
		change(run, KubeIPVS, Steady, func(s *Sample) { u := *s.Usage; u.IPVSWrites = writes; s.Usage = &u; busy(s) })
		if f := finding(t, run, "steady-writes", large); f.Outcome != want || !strings.Contains(f.Measured, NotAtRest) {
			t.Errorf("%d writes: %s: %s", writes, f.Outcome, f.Measured)
		}
	}
}

func TestOneValueEachIsSaid(t *testing.T) {
	run := good(t)
	for _, key := range []string{"cold-ipvs", "cold-nftables"} {
		for _, f := range verdict(t, run, key).Findings {
			if !strings.HasSuffix(f.Measured, ", one value each") {
				t.Errorf("%s: %q", key, f.Measured)
			}
		}
	}
	if f := finding(t, run, "change-nftables", small); strings.Contains(f.Measured, "one value") {
		t.Errorf("of many values: %s", f.Measured)
	}
	change(run, KubeIPVS, Cold, func(s *Sample) { s.Values = append(s.Values, s.Values[0]) })
	if f := finding(t, run, "cold-ipvs", medium); strings.Contains(f.Measured, "one value") {
		t.Errorf("ours are two: %s", f.Measured)
	}
}

// A restart that was timed with the counters on takes longer: nothing is divided by one without.
func TestRestartsThatWereNotTimedAlikeHaveNoRatio(t *testing.T) {
	run := Run{Samples: []Sample{
		{Subject: KubeIPVS, Measure: Restart, Size: large, Unit: Seconds, Values: []float64{2}, Note: "counted in a start of its own"},
		{Subject: KubeProxyNft + "/1s", Measure: Restart, Size: large, Unit: Seconds, Values: []float64{10}, Note: "counted"},
	}}
	if got := run.ratio(KubeProxyNft+"/1s", Restart, large); got != "" {
		t.Errorf("unlike: %s", got)
	}
	run.Samples[1].Note = run.Samples[0].Note
	if got := run.ratio(KubeProxyNft+"/1s", Restart, large); got != "5×" {
		t.Errorf("alike: %q", got)
	}
}

// The virtual server made by hand is measured again beside each subject: slow beside a busy one, it is not beside another.
func TestSidesOfTheDataPathStandBesideTheirSubject(t *testing.T) {
	sample := func(subject, note string, value float64) Sample {
		return Sample{Subject: subject, Measure: Requests, Family: "ipv4", Unit: PerSecond, Values: []float64{value}, Note: note}
	}
	run := Run{Samples: []Sample{
		sample(KubeIPVS, "bursts", 100), sample(ByHand, "bursts; beside "+KubeIPVS, 110), sample(PodDirect, "beside "+KubeIPVS, 120),
		sample(KubeProxyIPVS, "bursts; "+NotAtRest, 10), sample(ByHand, "bursts; beside "+KubeProxyIPVS+"; "+NotAtRest, 11),
		sample(ByHand, "", 50),
	}}
	names := map[string]string{}
	for _, row := range run.pairs().rows {
		names[row[1]+" "+row[2]] = row[len(row)-1]
	}
	for name, remark := range map[string]string{
		KubeIPVS + " 100/s": "", ByHand + ", beside it 110/s": "", PodDirect + ", beside it 120/s": "",
		KubeProxyIPVS + " 10/s": NotAtRest, ByHand + ", beside it 11/s": NotAtRest, ByHand + " 50/s": "",
	} {
		if got, ok := names[name]; !ok || got != remark {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
	}
	if len(names) != 6 {
		t.Errorf("rows: %v", names)
	}
	if i := slices.IndexFunc(run.pairs().rows, func(row []string) bool { return row[2] == "11/s" }); i < 1 || run.pairs().rows[i-1][1] != KubeProxyIPVS {
		t.Error("a side does not stand below its subject")
	}
	busyUs := good(t)
	change(busyUs, KubeIPVS, PairLatency, busy)
	if v := verdict(t, busyUs, "datapath"); !strings.Contains(v.measured(), NotAtRest) {
		t.Errorf("nobody says that we were busy: %s", v.measured())
	}
}
