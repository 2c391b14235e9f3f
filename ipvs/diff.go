package ipvs

import (
	"net/netip"

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
	var phases [5]Plan
	emit := func(phase int, op Op) { phases[phase] = append(phases[phase], op) }
	for _, key := range want.Keys() {
		w := want[key]
		h, exists := have[key]
		switch {
		case !exists:
			emit(0, Op{Verb: AddVirtual, Key: key, Virtual: w.VirtualServer})
		case h.VirtualServer != w.VirtualServer:
			emit(0, Op{Verb: SetVirtual, Key: key, Virtual: w.VirtualServer})
		}
		diffReals(key, h, w, emit)
	}
	for _, key := range have.Keys() {
		if _, wanted := want[key]; !wanted {
			emit(4, Op{Verb: DelVirtual, Key: key})
		}
	}
	var plan Plan
	for _, p := range phases {
		plan = append(plan, p...)
	}
	return plan
}

func diffReals(key frontend.Key, have, want Entry, emit func(int, Op)) {
	for _, addr := range want.RealKeys() {
		w := want.Reals[addr]
		h, exists := have.Reals[addr]
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
	for _, addr := range have.gone(want) {
		emit(3, Op{Verb: DelReal, Key: key, RealKey: addr})
	}
}

// gone lists the real servers that e has and want has not, in order.
func (e Entry) gone(want Entry) []netip.AddrPort {
	var gone []netip.AddrPort
	for _, addr := range e.RealKeys() {
		if _, wanted := want.Reals[addr]; !wanted {
			gone = append(gone, addr)
		}
	}
	return gone
}
