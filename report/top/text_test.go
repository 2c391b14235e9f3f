package top

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 0.04: "<0.1", 0.05: "0.1", 0.5: "0.5", 1: "1", 1.04: "1.0", 9.94: "9.9", 9.96: "10", 10.4: "10", 999: "999", 999.4: "999", 999.5: "1.0k",
		1234: "1.2k", 9949: "9.9k", 9951: "10k", 999_499: "999k", 999_500: "1.0M", 35e6: "35M", 1.5e9: "1.5G", 2e12: "2.0T", 18e18: "18E",
	} {
		if got := short(n); got != want {
			t.Errorf("%v is written %s, want %s", n, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Float64Range(0, math.MaxUint64).Draw(t, "number")
		if got := short(n); len(got) > 4 {
			t.Errorf("%v is written %s", n, got)
		}
	})
}

func TestNumbersOfThingsAreGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 2700: "2,700", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}

func TestNamesAreCutInTheMiddleAndTextAtItsEnd(t *testing.T) {
	for _, c := range []struct {
		width       int
		name, words string
	}{
		{20, "default/checkout:web", "default/checkout:web"},
		{15, "default~out:web", "default/checko~"},
		{4, "def~", "def~"},
		{1, "~", "~"},
		{0, "", ""},
		{-1, "", ""},
	} {
		if got := cutMiddle("default/checkout:web", c.width); got != c.name {
			t.Errorf("the name at %d is %q, want %q", c.width, got, c.name)
		}
		if got := cut("default/checkout:web", c.width); got != c.words {
			t.Errorf("the text at %d is %q, want %q", c.width, got, c.words)
		}
	}
}

func TestOnlyPrintableASCIIIsPlain(t *testing.T) {
	for text, want := range map[string]string{
		"web-1": "web-1", "\x1b[2J": "?[2J", "a\r\nb\tc": "a??b?c", "\u202Eevil": "?evil", "日本": "??", "\u009b31m": "?31m", "\x7f": "?", "\xff\xfe": "??",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
