package ipvs

import (
	"cmp"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Diff is the shortest plan that turns have into want. Both are the same part of the kernel's table: what is in have
// and not in want is deleted, and nothing outside of both is touched. It is pure, and the plan depends on nothing but
// the two tables.
//
// The kernel has no transaction and any operation may fail, so the order makes every prefix of the plan a table that
// works:
//
//  1. virtual servers that are new or configured otherwise
//  2. real servers that are new
//  3. real servers whose weight rises or whose configuration changes
//  4. real servers whose weight falls to 0, then real servers that go
//  5. virtual servers that go, with all that they still have
//
// A virtual server that keeps at least one real server with weight therefore never stands without one.
func Diff(have, want Table) Plan {
	keys := want.Keys()
	gone := make([]frontend.Key, 0, max(0, len(have)-len(want)))
	for key := range have {
		if _, wanted := want[key]; !wanted {
			gone = append(gone, key)
		}
	}
	slices.SortFunc(gone, frontend.Key.Compare)

	// A plan may have tens of thousands of operations: it is counted first, and made in one piece.
	var counts [phases]int
	for _, key := range keys {
		diffVirtual(key, have, want, func(phase int, _ Op) { counts[phase]++ })
	}
	var ends [phases]int // where the next operation of a phase goes
	total := 0
	for phase, n := range counts {
		ends[phase] = total
		total += n
	}
	plan := make(Plan, total, total+len(gone))
	for _, key := range keys {
		begins := ends
		diffVirtual(key, have, want, func(phase int, op Op) {
			plan[ends[phase]] = op
			ends[phase]++
		})
		for phase, begin := range begins {
			slices.SortFunc(plan[begin:ends[phase]], compareReals)
		}
	}
	for _, key := range gone {
		plan = append(plan, Op{Verb: DelVirtual, Key: key})
	}
	return plan
}

// phases are those of Diff that concern virtual servers that stay.
const phases = 4

// diffVirtual emits the operations on a virtual server that is wanted and on its real servers, in any order.
func diffVirtual(key frontend.Key, have, want Table, emit func(phase int, op Op)) {
	w := want[key]
	h, exists := have[key]
	switch {
	case !exists:
		emit(0, Op{Verb: AddVirtual, Key: key, Virtual: w.VirtualServer})
	case h.VirtualServer != w.VirtualServer:
		emit(0, Op{Verb: SetVirtual, Key: key, Virtual: w.VirtualServer})
	}
	for addr, w := range w.Reals {
		h, exists := h.Reals[addr]
		switch {
		case !exists:
			emit(1, Op{Verb: AddReal, Key: key, RealKey: addr, Real: w})
		case h == w:
		case w.Weight == 0:
			emit(3, Op{Verb: SetReal, Key: key, RealKey: addr, Real: w})
		default:
			emit(2, Op{Verb: SetReal, Key: key, RealKey: addr, Real: w})
		}
	}
	for addr := range h.Reals {
		if _, wanted := w.Reals[addr]; !wanted {
			emit(3, Op{Verb: DelReal, Key: key, RealKey: addr})
		}
	}
}

// compareReals is the order of the operations of one phase on one virtual server: what is set comes before what is deleted.
func compareReals(a, b Op) int {
	return cmp.Or(cmp.Compare(a.Verb, b.Verb), a.RealKey.Compare(b.RealKey))
}
