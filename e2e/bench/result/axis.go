package result

import (
	"math"
	"strconv"
)

// axis is the vertical one.
type axis struct {
	log         bool
	low, high   float64
	ticks       []float64 // with a text
	minor       []float64 // without
	top, bottom float64   // where high and low are
}

// newAxis ends at round numbers.
func newAxis(c chart, low, high float64) axis {
	if c.log {
		return logAxis(low, high)
	}
	return linearAxis(low, high, c.unit)
}

func logAxis(low, high float64) axis {
	a := axis{log: true}
	var marks []float64
	steps := []float64{1, 2, 5}
	for decade := math.Floor(math.Log10(low)); decade <= math.Ceil(math.Log10(high)); decade++ {
		for _, step := range steps {
			marks = append(marks, step*math.Pow(10, decade))
		}
	}
	// The marks next to the values are the ends.
	for len(marks) > 2 && marks[1] <= low*0.95 {
		marks = marks[1:]
	}
	for len(marks) > 2 && marks[len(marks)-2] >= high*1.05 {
		marks = marks[:len(marks)-1]
	}
	a.low, a.high = marks[0], marks[len(marks)-1]
	for _, m := range marks {
		if decade := math.Log10(m); len(marks) <= 7 || math.Abs(decade-math.Round(decade)) < 1e-9 {
			a.ticks = append(a.ticks, m)
		} else {
			a.minor = append(a.minor, m)
		}
	}
	return a
}

func linearAxis(low, high float64, u Unit) axis {
	scale := 1.0
	if u == Bytes {
		scale = 1 << 20
	}
	low, high = low/scale, high/scale
	step := math.Pow(10, math.Floor(math.Log10(max(high-low, 1e-9))))
	for _, finer := range []float64{1, 0.5, 0.2, 0.1} {
		if (high-low)/(step*finer) >= 4 {
			step *= finer
			break
		}
	}
	first, last := math.Floor(low/step+1e-9), math.Ceil(high/step-1e-9)
	if last <= first {
		last = first + 1
	}
	a := axis{low: first * step * scale, high: last * step * scale}
	for n := first; n <= last; n++ {
		a.ticks = append(a.ticks, n*step*scale)
	}
	return a
}

// y is where a value is.
func (a axis) y(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		low, high, v = math.Log10(low), math.Log10(high), math.Log10(v)
	}
	return round(a.bottom - (v-low)/(high-low)*(a.bottom-a.top))
}

// round keeps a tenth of a point: nobody sees more, and files stay the same on every machine.
func round(v float64) float64 { return math.Round(v*10) / 10 }

// mark is the text at a tick.
func (u Unit) mark(v float64) string {
	short := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	switch {
	case u == Bytes:
		return short(v/(1<<20)) + " MiB"
	case u != Seconds:
		return short(v)
	case v < 0.9995e-3:
		return short(v*1e6) + " µs"
	case v < 0.9995:
		return short(v*1e3) + " ms"
	default:
		return short(v) + " s"
	}
}
