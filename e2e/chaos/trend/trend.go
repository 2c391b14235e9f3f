// Package trend says whether something grows: samples of a long run in, a verdict out. It is not by eye: the median of the last third is held
// against that of the first one, and an allowance is stated with each measure.
package trend

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Measure is something that must not grow.
type Measure struct {
	Name string
	Unit string
	// Share and Slack are how much more the last third may have: so much of the first, and so much besides.
	Share, Slack float64
	// Warm is how long it takes until there is as much of it as there will be. Samples from before do not count, and a run of less than three
	// times as long says nothing.
	Warm time.Duration
}

// Sample is one reading of all measures.
type Sample struct {
	At     time.Duration
	Values map[string]float64
}

// Result is the verdict on one measure.
type Result struct {
	Measure
	Samples     int
	First, Last float64 // medians of the thirds
	Max         float64
	Slope       float64 // an hour: the median of the slopes between all pairs (Theil–Sen)
	Judged      bool
	Flat        bool
}

// fewest is how many samples a third needs for its median to say something.
const fewest = 3

// Judge looks at one measure.
func (m Measure) Judge(samples []Sample) Result {
	r := Result{Measure: m, Max: math.Inf(-1)}
	var times, values []float64
	end := time.Duration(0)
	for _, s := range samples {
		v, there := s.Values[m.Name]
		if !there {
			continue
		}
		end = max(end, s.At)
		r.Max = max(r.Max, v)
		if s.At >= m.Warm {
			times, values = append(times, s.At.Hours()), append(values, v)
		}
	}
	r.Samples = len(values)
	third := len(values) / 3
	if third < fewest {
		if len(values) > 0 {
			r.First, r.Last = values[0], values[len(values)-1]
		}
		return r
	}
	r.First, r.Last = median(values[:third]), median(values[len(values)-third:])
	r.Slope = slope(times, values)
	r.Judged = end >= 3*m.Warm
	r.Flat = r.Last <= r.First*(1+m.Share)+m.Slack
	return r
}

// String is a line for people.
func (r Result) String() string {
	verdict := "flat"
	switch {
	case !r.Judged:
		verdict = "not judged: the run is too short"
	case !r.Flat:
		verdict = fmt.Sprintf("GROWS: allowed are %.4g", r.First*(1+r.Share)+r.Slack)
	}
	return fmt.Sprintf("%s: %.4g → %.4g %s (%+.4g an hour, at most %.4g, %d samples): %s", r.Name, r.First, r.Last, r.Unit, r.Slope, r.Max, r.Samples, verdict)
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func slope(times, values []float64) float64 {
	var all []float64
	for i := range times {
		for k := range i {
			if d := times[i] - times[k]; d > 0 {
				all = append(all, (values[i]-values[k])/d)
			}
		}
	}
	if len(all) == 0 {
		return 0
	}
	return median(all)
}
