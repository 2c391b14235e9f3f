package sync

import (
	"iter"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// rising are the real servers of a frontend whose weight is still growing, and since when.
type rising struct {
	since map[netip.AddrPort]time.Time
	// next is when the next weight is due.
	next time.Time
}

// ramp lowers, in the entry that a frontend should have next, the weights of the real servers that are new beside others
// and of those that it lowered before. It is pure but for next. have is the kernel's entry, period is the time of the whole
// way up, and before is what the last call returned. Where nobody else is there to serve, and in a process that did not
// see the beginning, there is nothing to raise slowly.
func ramp(now time.Time, period time.Duration, have ipvs.Entry, next *ipvs.Entry, before rising) rising {
	after := rising{since: map[netip.AddrPort]time.Time{}}
	others := false
	for addr, real := range next.Reals {
		others = others || real.Weight > 0 && have.Reals[addr].Weight > 0
	}
	for addr, real := range next.Reals {
		since, known := before.since[addr]
		if _, there := have.Reals[addr]; !known && !there {
			since, known = now, others
		}
		step := int64(now.Sub(since))*rampSteps/int64(period) + 1
		if !known || real.Weight == 0 || step >= rampSteps {
			continue
		}
		after.since[addr] = since
		// Rounded up: a moment before it the step is not due, and would be asked for again at once.
		if at := since.Add((time.Duration(step)*period + rampSteps - 1) / rampSteps); after.next.IsZero() || at.Before(after.next) {
			after.next = at
		}
		real.Weight = max(1, uint32(int64(real.Weight)*step/rampSteps))
		next.Reals[addr] = real
	}
	return after
}

// dueRamps are the frontends with a real server whose next weight is due.
func (r *Reconciler) dueRamps(now time.Time) []frontend.Key {
	var due []frontend.Key
	for key, at := range r.nextRamps() {
		if !now.Before(at) {
			due = append(due, key)
		}
	}
	return due
}

// nextRamps are the frontends with a real server whose weight is growing, and when the next one is due. What waits for another
// try gets its weight with that: its step stays due until then, and the loop would run without a pause.
func (r *Reconciler) nextRamps() iter.Seq2[frontend.Key, time.Time] {
	return func(yield func(frontend.Key, time.Time) bool) {
		for key, up := range r.rising {
			if _, waits := r.retry[key]; !waits && !yield(key, up.next) {
				return
			}
		}
	}
}
