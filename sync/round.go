package sync

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const (
	// smallRound is how many virtual servers are read at once: that takes no longer than a change of one.
	smallRound = 64
	// A larger round goes on once in slicePeriod, or less often if a slice had less than sliceSize virtual servers then, but
	// at least leastSlices times.
	slicePeriod = time.Second
	sliceSize   = 8
	leastSlices = 4
	// comparedPerSecond is how many virtual servers an audit compares in a second at most. A minute with 75 in a second, and nothing
	// else to do, took 5.5 % of an emulated processor, the kernel's part included, where everything takes 10 to 15 times longer:
	// about half a percent of a core.
	comparedPerSecond = 100
	// pressedBudget is how long a change waits at most for a round that is behind.
	pressedBudget = 10 * time.Millisecond
)

// auditRound is the part of an audit that compares the real servers of each of our virtual servers with the memory of
// them: one dump for each, since the kernel has none of all. A large table is read in slices:
//
//	audit                                                             audit
//	│▪    ▪    ▪    ▪    ▪    ▪    ▪    ▪    ▪    ▪    ▪    ▪         │▪    ▪
//	├──────────────────────── span ───────────────────────┼── slack ──┤
//
// A slice makes way for whatever else there is to do and goes on after it, until it is so far behind the plan that the
// round would not end before the next audit. A table that is too large for one period takes some whole ones: the audits
// that begin meanwhile leave the round alone.
type auditRound struct {
	keys  []frontend.Key // sorted, and read from first on, round about
	first int
	done  int // of keys
	began time.Time
	due   time.Time     // when the audit begins that cuts it off
	span  time.Duration // from the beginning to where all is read; 0 for a small round
	every time.Duration // from one slice to the next
	next  time.Time     // when it goes on
	// failed: some of them could not be read.
	failed bool
	// ended is when a round last ended that read everything.
	ended time.Time
}

// slackPart is the part of a span by which a round may be behind.
const slackPart = 8

// begin plans a round through everything in table, which takes less than period, or as many of them as its size needs. One
// that is under way and has time left goes on. One that is not over by then was cut off: this one begins there, and at once.
func (a *auditRound) begin(now time.Time, period time.Duration, table ipvs.Table) {
	if !a.over() && now.Before(a.due) {
		return
	}
	var from frontend.Key // the least of all
	cutOff := !a.over()
	if cutOff {
		from = a.key(a.done)
	}
	a.keys = slices.AppendSeq(a.keys[:0], maps.Keys(table))
	slices.SortFunc(a.keys, frontend.Key.Compare)
	a.first, _ = slices.BinarySearchFunc(a.keys, from, frontend.Key.Compare)
	a.done, a.failed, a.began, a.next = 0, false, now, now
	whole := a.time(period)
	a.due = now.Add(whole - period/2) // audits do not begin to the moment
	if a.small() {
		a.span, a.every = 0, 0
		return
	}
	a.span = spanOf(whole)
	a.every = a.span / max(leastSlices, min(a.span/slicePeriod, time.Duration(len(a.keys)/sliceSize)))
	if cutOff { // it is late: its first slice is due at once
		a.began = now.Add(-a.every)
		return
	}
	a.wait(now)
}

// spanOf is the part of the time for a round in which it is to be read, with some slack behind it.
func spanOf(whole time.Duration) time.Duration { return whole * slackPart / (slackPart + 2) }

// time is how long the round may take: one sync period, or as many as keep it from comparing too many in a second.
func (a *auditRound) time(period time.Duration) time.Duration {
	if a.small() {
		return period
	}
	least := time.Duration(len(a.keys)) * time.Second / comparedPerSecond * (slackPart + 2) / slackPart
	return max(1, (least+period-1)/period) * period
}

// wait plans the slice after now.
func (a *auditRound) wait(now time.Time) {
	a.next = now
	if a.every > 0 {
		a.next = a.began.Add((now.Sub(a.began)/a.every + 1) * a.every)
	}
}

// small reports that the round is done at once.
func (a *auditRound) small() bool { return len(a.keys) <= smallRound }

// over reports that nothing is left to be read.
func (a *auditRound) over() bool { return a.done >= len(a.keys) }

// key is the one that is read after n others.
func (a *auditRound) key(n int) frontend.Key { return a.keys[(a.first+n)%len(a.keys)] }

// planned is how many should have been read at some time.
func (a *auditRound) planned(at time.Time) int {
	elapsed := at.Sub(a.began)
	if elapsed >= a.span {
		return len(a.keys)
	}
	return max(0, int(float64(len(a.keys))*float64(elapsed)/float64(a.span)))
}

// end notes that a round has read everything.
func (a *auditRound) end(now time.Time) {
	if !a.failed {
		a.ended = now
	}
}

// goOn reads the slice of a round that is due, and returns the keys that are not as remembered or could not be read. What
// came with this pass, or comes meanwhile, has precedence.
func (r *Reconciler) goOn(ctx context.Context, p *passReport) []frontend.Key {
	a, now := &r.round, time.Now()
	if now.Before(a.next) || a.over() {
		return nil
	}
	var due []frontend.Key
	plan, least := a.planned(now), a.planned(now.Add(-a.span/slackPart))
	for a.done < plan {
		if (p.sync || r.pressing(ctx)) && (a.done >= least || time.Since(now) > pressedBudget) {
			return due // it is due again at once
		}
		key := a.key(a.done)
		a.done++
		if !r.asRemembered(ctx, key, p) {
			due = append(due, key)
		}
		if r.unread.has(key) { // more of them may take long, and fail too
			a.failed = true
			break
		}
	}
	a.wait(now)
	if a.over() {
		a.end(now)
	}
	return due
}

// pressing reports whether the loop has something else to do. Questions are answered at once.
func (r *Reconciler) pressing(ctx context.Context) bool {
	select {
	case answer := <-r.questions:
		answer()
	default:
	}
	return ctx.Err() != nil || !r.held(time.Now()) && len(r.Source.Changed()) > 0 || len(r.Addresses.Changed()) > 0
}

// asRemembered compares the real servers of one virtual server with the memory of them. Those that differ, or cannot be
// compared, are read exactly.
func (r *Reconciler) asRemembered(ctx context.Context, key frontend.Key, p *passReport) bool {
	known, ours := r.have.table[key]
	if !ours {
		return true // it was deleted since the round began
	}
	if !r.unread.has(key) {
		if same, err := r.Kernel.SameReals(ctx, key, known.Reals, nil); same && err == nil {
			return true
		}
	}
	return !r.drifted(ctx, key, p) && !r.unread.has(key)
}
