package trend_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/trend"
)

// series is a value each 10 s for so long.
func series(long time.Duration, f func(at time.Duration) float64) []trend.Sample {
	var all []trend.Sample
	for at := time.Duration(0); at <= long; at += 10 * time.Second {
		all = append(all, trend.Sample{At: at, Values: map[string]float64{"memory": f(at)}})
	}
	return all
}

func TestWhatGrowsIsFoundAndWhatSwaysIsNot(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sway := func(time.Duration) float64 { return 50 + 10*random.Float64() }
	m := trend.Measure{Name: "memory", Unit: "MB", Share: 0.1, Slack: 1, Warm: 2 * time.Minute}
	for name, c := range map[string]struct {
		long         time.Duration
		f            func(time.Duration) float64
		judged, flat bool
	}{
		"it sways":                 {time.Hour, sway, true, true},
		"it grows":                 {time.Hour, func(at time.Duration) float64 { return sway(at) + 20*at.Hours() }, true, false},
		"it grows only at first":   {time.Hour, func(at time.Duration) float64 { return sway(at) + min(30, 20*at.Minutes()) }, true, true},
		"it falls":                 {time.Hour, func(at time.Duration) float64 { return sway(at) - 20*at.Hours() }, true, true},
		"one sample is far out":    {time.Hour, func(at time.Duration) float64 { return sway(at) + map[bool]float64{true: 1e6}[at == 59*time.Minute] }, true, true},
		"the run is short":         {5 * time.Minute, sway, false, true},
		"the run is far too short": {30 * time.Second, sway, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := m.Judge(series(c.long, c.f))
			if r.Judged != c.judged || r.Flat != c.flat {
				t.Error(r)
			}
		})
	}
}

func TestTheSlopeIsThatOfAnHour(t *testing.T) {
	r := trend.Measure{Name: "memory"}.Judge(series(30*time.Minute, func(at time.Duration) float64 { return 7 + 12*at.Hours() }))
	if r.Slope < 11.99 || r.Slope > 12.01 {
		t.Error(r)
	}
}
