package result

import (
	"math"
	"strings"
	"testing"
)

func TestNumbersAreWrittenInThreeDigits(t *testing.T) {
	for _, c := range []struct {
		value span
		unit  Unit
		want  string
	}{
		{exactly(0), Seconds, "0 s"},
		{exactly(0.000412345), Seconds, "412 µs"},
		{exactly(0.00123), Seconds, "1.23 ms"},
		{exactly(0.99949), Seconds, "999 ms"},
		{exactly(12.34), Seconds, "12.3 s"},
		{exactly(99.96), Seconds, "100 s"},
		{atLeast(180), Seconds, "> 180 s"},
		{span{0, 0.5}, Ratio, "< 0.500"},
		{span{0, math.Inf(1)}, Ratio, "unknown"},
		{span{1.5, 2.5}, Ratio, "1.50 to 2.50"},
		{exactly(23712), Ratio, "23,700"},
		{exactly(2700), Count, "2,700"},
		{exactly(0.98765), Ratio, "0.988"},
		{exactly(41.25 * (1 << 20)), Bytes, "41.2 MiB"},
		{exactly(4053.2), PerSecond, "4,053/s"},
	} {
		if got := c.value.text(c.unit); got != c.want {
			t.Errorf("%v: %q, not %q", c.value, got, c.want)
		}
	}
}

func TestQuotientsOfBoundsAreBounds(t *testing.T) {
	for _, c := range []struct {
		a, b, want span
		ok         bool
	}{
		{exactly(6), exactly(2), exactly(3), true},
		{atLeast(6), exactly(2), atLeast(3), true},
		{exactly(6), atLeast(2), span{0, 3}, true},
		{atLeast(6), atLeast(2), atLeast(0), true},
		{exactly(6), exactly(0), span{}, false},
		{exactly(0), exactly(0), span{}, false},
	} {
		if got, ok := c.a.over(c.b); got != c.want || ok != c.ok {
			t.Errorf("%v by %v: %v %v, not %v %v", c.a, c.b, got, ok, c.want, c.ok)
		}
	}
}

func TestAMedianIsABoundOnlyIfTheCutOffMayBeBehindIt(t *testing.T) {
	of := func(cut, whole []float64) series {
		var s series
		s.add(Sample{Values: whole, Unit: Seconds})
		s.add(Sample{Values: cut, Unit: Seconds, AtLeast: true})
		return s
	}
	for _, c := range []struct {
		cut, whole []float64
		want       span
	}{
		{nil, []float64{3, 1, 2}, exactly(2)},
		{[]float64{180}, []float64{1, 2}, exactly(2)},
		{[]float64{180, 180}, []float64{1}, atLeast(180)},
		{[]float64{1}, []float64{2, 3}, atLeast(2)},
		{[]float64{2}, []float64{2, 2}, exactly(2)},
		{nil, []float64{1, 2, 3, 4}, exactly(2.5)},
	} {
		if got, ok := of(c.cut, c.whole).median(); got != c.want || !ok {
			t.Errorf("%v, cut off at %v: %v, not %v", c.whole, c.cut, got, c.want)
		}
	}
	if _, ok := (series{}).median(); ok {
		t.Error("nothing has a median")
	}
	if got := of([]float64{180}, []float64{12, 14}).text(); got != "12 s, 14 s, > 180 s" {
		t.Errorf("few values are printed as %q", got)
	}
}

func TestImpossibleSamplesAreRefused(t *testing.T) {
	for text, why := range map[string]string{
		`{"samples":[{"subject":"a","measure":"cold","values":[-1]}]}`:   "no measurement",
		`{"samples":[{"measure":"cold","values":[1]}]}`:                  "does not say",
		`{"samples":[{"subject":"a","measure":"cold","changes":-1}]}`:    "below zero",
		`{"samples":[{"subject":"a","measure":"steady","watched":-1}]}`:  "below zero",
		`{"samples":[{"subject":"a","measure":"cold","values":["fast"]}`: "read a run",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
