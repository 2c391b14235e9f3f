package sync

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const (
	// pollPeriod is how often the connections of departing real servers are looked at, and how long after they began to leave
	// for the first time: before that nothing comes of it, for they have to settle.
	pollPeriod = time.Second
	// pollShare is the part of the time that these looks take at most: a long list of them is looked at less often.
	pollShare = 10
	// longestPause is between two of them at most, also where a silent kernel made one take long.
	longestPause = 30 * time.Second
)

// poll is a look at the connections of the departing real servers that were not looked at a moment ago, one frontend after the
// other. It makes way for whatever else there is to do, and goes on after that.
type poll struct {
	left  []frontend.Key // those that are still to be looked at, sorted
	began time.Time
	spent time.Duration // since the last pause
	next  time.Time     // when it goes on, or the next one begins
	// connections are what a look reads. The map is made once.
	connections map[netip.AddrPort]ipvs.Connections
}

// pollLeaving reads the connections of departing real servers and returns the frontends of which something has to be done: one
// may go, or the kernel has something else than was remembered.
func (r *Reconciler) pollLeaving(ctx context.Context, now time.Time, p *passReport) []frontend.Key {
	l := &r.poll
	if len(r.leaving) == 0 {
		l.left = nil // whoever leaves next does not wait for them
		return nil
	}
	if now.Before(l.next) {
		return nil
	}
	begin := time.Now() // not the pass's: an audit before it may have taken long
	if len(l.left) == 0 {
		if l.left, l.next = r.toLookAt(begin); len(l.left) == 0 {
			return nil
		}
		l.began = begin
	}
	// A change that came with this pass, or comes meanwhile, has precedence until it has had that for too long.
	budget := time.Duration(0)
	if begin.Sub(l.began) > pollPeriod {
		budget = pressedBudget
	}
	var due []frontend.Key
	failed := false
	for !failed && len(l.left) > 0 && (!p.sync && !r.pressing(ctx) || time.Since(begin) < budget) {
		key := l.left[0]
		l.left = l.left[1:]
		if _, leaves := r.leaving[key]; !leaves {
			continue
		}
		something, err := r.look(ctx, key, p)
		if something || err != nil {
			due = append(due, key)
		}
		if failed = err != nil; failed { // the others may take long, and fail too: they come after a pause
			p.failFrontends(err)
		}
	}
	l.spent += time.Since(begin)
	if l.next = time.Now(); failed || len(l.left) == 0 {
		l.next = l.next.Add(min(max(pollPeriod, pollShare*l.spent), longestPause))
		l.spent = 0
	}
	return due
}

// toLookAt are the frontends with a departing real server of which nothing is known since pollPeriod or longer, sorted; and when
// the first of the others will be one.
func (r *Reconciler) toLookAt(now time.Time) (keys []frontend.Key, next time.Time) {
	for key, d := range r.leaving {
		switch at := d.looked().Add(pollPeriod); {
		case !now.Before(at):
			keys = append(keys, key)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	slices.SortFunc(keys, frontend.Key.Compare)
	return keys, next
}

// look reads the connections of one frontend's departing real servers, and reports whether something has to be done there. Where
// the real servers are as remembered it reads no more than that: the rest of the virtual server is left to the audits.
func (r *Reconciler) look(ctx context.Context, key frontend.Key, p *passReport) (bool, error) {
	connections, same, err := r.compare(ctx, key)
	if err == nil && !same {
		var entry ipvs.Entry
		if entry, connections, err = r.Kernel.Get(ctx, key); err == nil {
			same = entry.Equal(r.have.table[key])
			r.have.put(key, entry)
		}
	}
	switch {
	case ipvs.IsGone(err): // somebody deleted it: no need to wait for the audit
		r.have.drop(key)
		delete(r.leaving, key) // nor does anything leave it: the next look has nothing to find
		p.drift++
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read the connections of %s: %w", key, err)
	}
	now := time.Now()
	r.leaving[key] = r.leaving[key].seen(now, key.Protocol, r.have.table[key].Reals, connections)
	return !same || r.oneMayGo(now, key, r.have.table[key]), nil
}

// compare reports whether the kernel has the real servers of a frontend that are remembered, and the connections of those that
// leave, which are good until the next call.
func (r *Reconciler) compare(ctx context.Context, key frontend.Key) (connections map[netip.AddrPort]ipvs.Connections, same bool, err error) {
	known, leaving := r.have.table[key].Reals, r.leaving[key]
	if len(known) == 0 {
		return nil, false, nil // a virtual server that is gone has none either
	}
	if r.poll.connections == nil {
		r.poll.connections = map[netip.AddrPort]ipvs.Connections{}
	}
	connections = r.poll.connections
	clear(connections)
	same, err = r.Kernel.SameReals(ctx, key, known, func(addr netip.AddrPort, c ipvs.Connections) {
		if _, leaves := leaving[addr]; leaves {
			connections[addr] = c
		}
	})
	return connections, same, err
}

// oneMayGo reports whether one of a frontend's departing real servers has nothing to wait for any more: its connections have
// ended, it has had its time, or it has died since it began to leave. The same where its time has to begin or to
// end. What waits for another try is looked after by that: else the look would find the same each time, and be a try of its own.
func (r *Reconciler) oneMayGo(now time.Time, key frontend.Key, present ipvs.Entry) bool {
	if b, waits := r.retry[key]; waits && now.Before(b.at) {
		return false
	}
	var want *Frontend
	if f, wanted := r.state.Want(key); wanted {
		want = &f
	}
	timeout := r.drainTimeout(key)
	for addr, d := range r.leaving[key] {
		if want != nil {
			if _, wanted := want.Entry.Reals[addr]; wanted {
				continue
			}
		}
		if _, there := present.Reals[addr]; !there || d.clockOff(want, addr) || fateOf(now, timeout, key.Protocol, addr, want, d) == goes {
			return true
		}
	}
	return false
}
