package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// Changes come after a rest of any length between these, and of how long the one before took: a program that waits a second between two
// passes makes nearly all of them wait, one that waits for some milliseconds none.
const (
	shortestRest = 20 * time.Millisecond
	longestRest  = 220 * time.Millisecond
)

// changed are the times of one change.
type changed struct {
	arrival, patch time.Duration
	cut            bool // lower bounds
}

// changes makes one change after the other, each to another Service as far as there are enough.
func (s *session) changes(ctx context.Context) error {
	if s.plan.both {
		return s.countedChanges(ctx)
	}
	timed, err := s.series(ctx, s.plan.changes)
	if err != nil {
		return err
	}
	s.keep(timed)
	return s.settle(ctx)
}

// countMore makes some changes more, of which everything is counted and nothing timed.
func (s *session) countMore(ctx context.Context) error {
	used, all, err := s.counted(ctx, s.plan.counted)
	if err != nil || s.arrival == nil {
		return err
	}
	s.arrival.Usage, s.arrival.Changes = &used, len(all)
	s.arrival.Note = s.countedNote(len(all), time.Now())
	return nil
}

// countedNote says how changes were counted. A regular audit reads a hundred times what a few changes do.
func (s *session) countedNote(changes int, until time.Time) string {
	note := fmt.Sprintf("counted apart, in %d changes to a process of its own", changes)
	if s.subject.Name == result.KubeIPVS && !until.Before(s.audit.from) {
		note += "; an audit may have been among them"
	}
	return note
}

// keep emits the samples of timed changes, but that which the counted ones are added to.
func (s *session) keep(timed []changed) {
	for _, sample := range s.changeSamples(timed) {
		if sample.Measure == result.Arrival && s.arrival == nil {
			s.arrival = &sample
			continue
		}
		s.emit(sample)
	}
}

// emitArrival emits what was kept back.
func (s *session) emitArrival() {
	if s.arrival != nil {
		s.emit(*s.arrival)
	}
	s.arrival = nil
}

// series makes n changes, or as many as are not cut off and one that is.
func (s *session) series(ctx context.Context, n int) ([]changed, error) {
	if s.order == nil {
		s.order, s.random = s.job.Plan.Order(s.size), rand.New(rand.NewPCG(s.job.Plan.Seed, uint64(s.size)))
	}
	var all []changed
	for range n {
		rest := shortestRest + time.Duration(s.random.Int64N(int64(longestRest-shortestRest)))
		if err := pause(ctx, rest); err != nil {
			return all, err
		}
		c, err := s.change(ctx, s.order[s.next%len(s.order)])
		if err != nil {
			return all, err
		}
		s.next++
		if all = append(all, c); c.cut {
			break // what is cut off goes on, and would be measured with the next
		}
	}
	return all, nil
}

// countedChanges times and counts the same changes: each takes so long that the counters do not matter.
func (s *session) countedChanges(ctx context.Context) error {
	note := s.atRest(result.Sample{Note: "counted while they were timed"}).Note
	used, timed, err := s.counted(ctx, s.plan.changes)
	if err != nil {
		return err
	}
	s.keep(timed)
	s.arrival.Usage, s.arrival.Changes, s.arrival.Note = &used, len(timed), note
	return nil
}

// counted makes n changes, and counts what the program does for them until it has come to rest. What was cut off is not waited for.
func (s *session) counted(ctx context.Context, n int) (used result.Usage, all []changed, err error) {
	if err := s.process.Watch(true); err != nil {
		return used, nil, err
	}
	before, err := s.process.Usage()
	if err != nil {
		return used, nil, err
	}
	if all, err = s.series(ctx, n); err != nil {
		return used, nil, err
	}
	if s.busy = slices.ContainsFunc(all, func(c changed) bool { return c.cut }); !s.busy {
		err = s.settle(ctx)
	}
	if err != nil {
		return used, nil, err
	}
	after, err := s.process.Usage()
	if err != nil {
		return used, nil, err
	}
	return minus(after, before), all, s.process.Watch(false)
}

// change replaces one endpoint and waits until the kernel has the fresh one behind all addresses.
func (s *session) change(ctx context.Context, service int) (changed, error) {
	c, err := s.now.change(service)
	if err != nil {
		return changed{}, fmt.Errorf("change Service %d: %w", service, err)
	}
	keys := s.job.Plan.Frontends(service)
	if s.subject.Writes == job.Nftables {
		keys = keys[:1] // one rule serves all addresses
	}
	var waits []func(context.Context) (time.Time, error)
	for _, key := range keys {
		wait, err := s.observer.Prepare(key, c.fresh)
		if err != nil {
			return changed{}, err
		}
		waits = append(waits, wait)
	}
	arrival := s.arrives(c.fresh.Addr().String())
	limited, stop := s.limit(ctx, s.job.ChangeCutoff)
	defer stop()
	began := time.Now()
	if err := s.now.make(ctx, s.client, c); err != nil { // not limited: what is under way must be known to have been made
		return changed{}, err
	}
	s.leaving.add(s.job.Plan.Frontends(service))
	last, cut, err := lastOf(limited, waits)
	if err != nil {
		return changed{}, err
	}
	select {
	case arrived := <-arrival:
		return changed{arrival: last.Sub(arrived), patch: last.Sub(began), cut: cut}, nil
	case <-time.After(time.Second):
		return changed{}, fmt.Errorf("the change to %s did not pass the gauge", c.fresh)
	}
}

// lastOf is when the last address had it, whichever that was; or the time of the cut-off.
func lastOf(limited context.Context, waits []func(context.Context) (time.Time, error)) (last time.Time, cut bool, err error) {
	for _, wait := range waits {
		at, err := wait(limited)
		if cut, err = cutOff(limited, err); err != nil {
			return last, false, err
		}
		if cut {
			return time.Now(), true, nil
		}
		last = later(last, at)
	}
	return last, false, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// changeSamples are the samples of a series: of the changes that came to their end, and of one that was cut off.
func (s *session) changeSamples(all []changed) []result.Sample {
	var samples []result.Sample
	for _, cut := range []bool{false, true} {
		arrival, patch := s.sample(result.Arrival, result.Seconds), s.sample(result.Patch, result.Seconds)
		arrival.AtLeast, patch.AtLeast = cut, cut
		for _, c := range all {
			if c.cut == cut {
				arrival.Values = append(arrival.Values, c.arrival.Seconds())
				patch.Values = append(patch.Values, c.patch.Seconds())
			}
		}
		if len(arrival.Values) > 0 {
			samples = append(samples, arrival, patch)
		}
	}
	return samples
}
