package result

import (
	"math"
	"strconv"
)

// span is a number of which it is known that it lies between low and high. What was measured to its end has both alike; what was cut
// off has no upper end. Whatever is computed of spans is a span, so that a lower bound is never taken for a measurement.
type span struct{ low, high float64 }

func exactly(v float64) span { return span{v, v} }
func atLeast(v float64) span { return span{v, math.Inf(1)} }

func (s span) exact() bool { return s.low == s.high }

// over is s divided by d; false if d may be zero, which no time and no size is.
func (s span) over(d span) (span, bool) {
	if d.low <= 0 {
		return span{}, false
	}
	q := span{s.low / d.high, s.high / d.low}
	if math.IsInf(s.low, 0) || math.IsNaN(q.low) || math.IsNaN(q.high) {
		return span{}, false
	}
	return q, true
}

// lesser is the smaller of two numbers.
func (s span) lesser(o span) span { return span{min(s.low, o.low), min(s.high, o.high)} }

// text is a span in a unit: "> 180 s" for a lower bound, "< 3.1" for an upper one.
func (s span) text(u Unit) string {
	switch {
	case s.exact():
		return u.text(s.low)
	case math.IsInf(s.high, 1) && s.low == 0:
		return "unknown"
	case math.IsInf(s.high, 1):
		return "> " + u.text(s.low)
	case s.low == 0:
		return "< " + u.text(s.high)
	default:
		return u.text(s.low) + " to " + u.text(s.high)
	}
}

// text is a value with its unit, in three digits.
func (u Unit) text(v float64) string {
	switch u {
	case Seconds:
		switch {
		case v == 0:
			return "0 s"
		case v < 0.9995e-3:
			return digits(v*1e6) + " µs"
		case v < 0.9995:
			return digits(v*1e3) + " ms"
		default:
			return digits(v) + " s"
		}
	case Bytes:
		return digits(v/(1<<20)) + " MiB"
	case PerSecond:
		return digits(v) + "/s"
	case Ratio:
		if v >= 1000 { // nobody measures four digits
			scale := math.Pow(10, math.Floor(math.Log10(v))-2)
			v = math.Round(v/scale) * scale
		}
		return digits(v)
	default:
		return digits(v)
	}
}

// times is a ratio as people say it.
func times(s span) string {
	if text := s.text(Ratio); text != "unknown" {
		return text + "×"
	}
	return "unknown"
}

// digits is a number in three digits, and all of its digits if it is a whole number or greater.
func digits(v float64) string {
	if v == math.Trunc(v) || v >= 99.95 {
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	decimals := 2 - int(math.Floor(math.Log10(v)))
	return strconv.FormatFloat(v, 'f', min(decimals, 6), 64)
}

// thousands puts a comma after each third digit from behind, as 2,700.
func thousands(whole string) string {
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}
