package result

import (
	"math"
	"slices"
	"strings"
)

// NotAtRest is in the note of what was measured of a program that still had something to do where it should have been at rest.
const NotAtRest = "it had not come to rest"

func (s Sample) atRest() bool { return !strings.Contains(s.Note, NotAtRest) }

// restless are the variants of a subject of which something was measured before they had come to rest.
func (r Run) restless(name string, m Measure, size int) []string {
	return slices.DeleteFunc(r.variants(name, m), func(subject string) bool {
		return !slices.ContainsFunc(r.Samples, func(s Sample) bool {
			return s.Subject == subject && s.Measure == m && s.Size == size && !s.atRest()
		})
	})
}

// halfwritten are the variants of a subject whose cold start was cut off: what was read then is not of one at rest either.
func (r Run) halfwritten(name string, m Measure, size int) []string {
	return slices.DeleteFunc(r.variants(name, m), func(subject string) bool { return !r.unfinished(subject, size) })
}

// rested adds to a finding about a by b who of the two was not at rest, and takes back what therefore is not decided.
func (r Run) rested(f *Finding, m Measure, top, bottom string, size int, a, b span, must judge) {
	busy := append(r.restless(top, m, size), r.restless(bottom, m, size)...)
	switch m {
	case Memory:
		for _, subject := range busy {
			f.Measured += "; " + subject + " had not come to rest, and may hold more than at rest"
		}
		for _, subject := range append(r.halfwritten(top, m, size), r.halfwritten(bottom, m, size)...) {
			f.Measured += "; " + subject + " " + unfinished
		}
		a, b = r.atRest(a, top, m, size), r.atRest(b, bottom, m, size)
		q := span{a.low / b.high, math.Inf(1)}
		if b.low > 0 {
			q.high = a.high / b.low
		}
		f.Outcome = must(q)
	case Arrival:
		for _, subject := range busy {
			f.Measured += "; " + subject + " was still busy with what came before: its counts are not of one change"
		}
	case Burst:
		for _, subject := range busy {
			f.Measured += "; " + subject + " had not come to rest: it is not known how much more it took"
			f.Outcome = Undecided
		}
	}
}

// atRest is what a program holds at rest, as far as it is known from what it held when it was looked at.
func (r Run) atRest(held span, name string, m Measure, size int) span {
	if len(r.restless(name, m, size)) > 0 {
		held.low = 0
	}
	if len(r.halfwritten(name, m, size)) > 0 {
		held = atLeast(0)
	}
	return held
}

// lone is whether a subject has one value alone at a size, with each of its sync periods.
func (r Run) lone(name string, m Measure, size int) bool {
	return !slices.ContainsFunc(r.variants(name, m), func(subject string) bool { return len(r.of(subject, m, size).values) > 1 })
}
