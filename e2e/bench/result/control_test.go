package result

import (
	"strings"
	"testing"
)

// controlled has a floor of one endpoint changed and a control of the data path.
func controlled() Run {
	floor, ours := make([]float64, 100), make([]float64, 100)
	for i := range floor {
		floor[i], ours[i] = 0.002, 0.010
	}
	floor[3], floor[5] = 0.006, 0.007
	ours[3], ours[5] = 0.050, 0.060
	pairs := func(m Measure, v float64) Sample {
		values := make([]float64, 20)
		for i := range values {
			values[i] = v
		}
		return Sample{Subject: ByHandAgain, Measure: m, Family: "ipv4", Unit: Ratio, Values: values}
	}
	return Run{Samples: []Sample{
		{Subject: KubeIPVS, Measure: Arrival, Size: 100, Unit: Seconds, Values: ours},
		{Subject: KubeIPVS, Measure: Arrival, Size: 2700, Unit: Seconds, Values: ours},
		{Subject: BareChange, Measure: Arrival, Size: 2700, Unit: Seconds, Values: floor},
		pairs(PairRequests, 1.01), pairs(PairLatency, 0.975), pairs(PairConnects, 1),
		{Subject: KubeIPVS, Measure: PairLatency, Family: "ipv6", Unit: Ratio, Values: []float64{0.96}},
		{Subject: KubeIPVS, Measure: PairRequests, Family: "ipv6", Unit: Ratio, Values: []float64{0.9}},
		{Subject: KubeIPVS, Measure: Memory, Size: 100, Unit: Bytes, Values: []float64{20 << 20}},
		{Subject: KubeIPVS, Measure: Memory, Size: 1000, Unit: Bytes, Values: []float64{30 << 20}},
		{Subject: KubeIPVS, Measure: Memory, Size: 2700, Unit: Bytes, Values: []float64{40 << 20}},
		{Subject: KubeProxyIPVS + "/0s", Measure: Memory, Size: 100, Unit: Bytes, Values: []float64{30 << 20}, Note: NotAtRest},
		{Subject: KubeProxyIPVS + "/1s", Measure: Memory, Size: 100, Unit: Bytes, Values: []float64{40 << 20}},
		{Subject: KubeProxyIPVS + "/1s", Measure: Memory, Size: 1000, Unit: Bytes, Values: []float64{50 << 20}, Note: NotAtRest},
		{Subject: KubeProxyIPVS + "/1s", Measure: Memory, Size: 2700, Unit: Bytes, Values: []float64{60 << 20}},
		{Subject: KubeProxyIPVS + "/1s", Measure: Cold, Size: 2700, Unit: Seconds, Values: []float64{120}, AtLeast: true},
	}}
}

func TestTheFloorOfAChangeStandsBesideItsGoals(t *testing.T) {
	const want = "p99/p50 of the floor's own: 3×"
	for _, v := range controlled().Verdicts() {
		for _, f := range v.Findings {
			beside := v.Key == "change-flat" || v.Key == "change-tail" && f.Where == at(2700)
			if beside != (f.Beside == want) {
				t.Errorf("%s %s has %q beside it", v.Key, f.Where, f.Beside)
			}
		}
	}
	for _, v := range (Run{}).Verdicts() {
		for _, f := range v.Findings {
			if f.Beside != "" {
				t.Errorf("%s has %q beside it, of nothing", v.Key, f.Beside)
			}
		}
	}
}

func TestTextsRestOnTheControlsOfTheirRun(t *testing.T) {
	run := controlled()
	run.Samples = append(run.Samples, // the floor of fewer Services, and more Services without a floor
		Sample{Subject: BareChange, Measure: Arrival, Size: 100, Unit: Seconds, Values: make([]float64, 100)},
		Sample{Subject: KubeIPVS, Measure: Arrival, Size: 5000, Unit: Seconds, Values: make([]float64, 100)})
	got := run.controls()
	want := controls{
		Change: "p50 2 ms, p99 6 ms, p99/p50 3× at 2,700 Services", ChangeOurs: "p50 10 ms, p99 50 ms, p99/p50 5× at 2,700 Services",
		Late: "4 ms", LateOurs: "40 ms", Pairs: got.Pairs, PairsOff: "2.5 %", PairsFavour: "4.0 %", PairsError: "4.0 %",
		Slow:         "2 of 100 at 100 Services (slowest 60 ms), 2 of 100 at 2,700 Services (slowest 60 ms), 0 of 100 at 5,000 Services (slowest 0 s)",
		SlowFloor:    "0 of 100 at 100 Services (slowest 0 s), 1 of 100 at 2,700 Services (slowest 7 ms)",
		MemoryAtRest: "0.500× (20 MiB / 40 MiB) at 100 Services",
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, part := range []string{"requests by IPv4 1.01 (", "latency by IPv4 0.975 (", "new connections by IPv4 1 ("} {
		if !strings.Contains(got.Pairs, part) {
			t.Errorf("%q has no %q", got.Pairs, part)
		}
	}
	if got := (Run{}).controls(); got != (controls{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestAnExplanationHasTheFiguresOfItsRun(t *testing.T) {
	tail := Verdict{Key: "change-tail"}
	for _, c := range []struct {
		run       Run
		has, lack string
	}{
		{controlled(), "p99/p50 3×", "is not known of this run"},
		{Run{}, "is not known of this run", "`bare-change` does"},
	} {
		if got, err := c.run.explanation(tail); err != nil || !strings.Contains(got, c.has) || strings.Contains(got, c.lack) {
			t.Errorf("%q (%v)", got, err)
		}
	}
	for _, g := range goals() {
		if _, err := (Run{}).explanation(Verdict{Key: g.key}); err != nil {
			t.Error(err)
		}
	}
	if got, err := (Run{}).explanation(Verdict{Key: "none"}); got != "" || err != nil {
		t.Errorf("%q (%v) of a goal that nobody explained", got, err)
	}
}
