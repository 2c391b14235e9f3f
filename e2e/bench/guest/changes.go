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

// Changes come after a rest of any length between these: a program that waits between two passes meets them at any moment of that.
const (
	shortestRest = 50 * time.Millisecond
	longestRest  = 350 * time.Millisecond
)

// changed are the times of one change.
type changed struct {
	arrival, patch time.Duration
	cut            bool // lower bounds
}

// changes makes one change after the other, each to another Service as far as there are enough, and then some more whose system calls and
// messages are counted.
func (s *session) changes(ctx context.Context) error {
	order := s.job.Plan.Order(s.size)
	random := rand.New(rand.NewPCG(s.job.Plan.Seed, uint64(s.size)))
	next := 0
	series := func(n int) ([]changed, error) {
		var all []changed
		for range n {
			rest := shortestRest + time.Duration(random.Int64N(int64(longestRest-shortestRest)))
			if err := pause(ctx, rest); err != nil {
				return all, err
			}
			c, err := s.change(ctx, order[next%len(order)])
			if err != nil {
				return all, err
			}
			next++
			if all = append(all, c); c.cut {
				break // what is cut off goes on, and would be measured with the next
			}
		}
		return all, nil
	}
	if s.plan.both {
		return s.countedChanges(ctx, series)
	}
	timed, err := series(s.plan.changes)
	if err != nil {
		return err
	}
	used, counted, err := s.counted(ctx, func() (int, error) {
		all, err := series(s.plan.counted)
		return len(all), err
	})
	if err != nil {
		return err
	}
	arrival, patch := s.changeSamples(timed)
	arrival.Usage, arrival.Changes = &used, counted
	arrival.Note = fmt.Sprintf("counted apart, in %d changes after these", counted)
	s.emit(arrival)
	s.emit(patch)
	return nil
}

// countedChanges times and counts the same changes: each takes so long that the counters do not matter.
func (s *session) countedChanges(ctx context.Context, series func(int) ([]changed, error)) error {
	var timed []changed
	used, counted, err := s.counted(ctx, func() (n int, err error) {
		timed, err = series(s.plan.changes)
		return len(timed), err
	})
	if err != nil {
		return err
	}
	arrival, patch := s.changeSamples(timed)
	arrival.Usage, arrival.Changes, arrival.Note = &used, counted, "counted while they were timed"
	s.emit(arrival)
	s.emit(patch)
	return nil
}

// counted counts what the program does for f, until it has come to rest.
func (s *session) counted(ctx context.Context, f func() (int, error)) (used result.Usage, n int, err error) {
	if err := s.settle(ctx); err != nil {
		return used, 0, err
	}
	if err := s.process.Watch(true); err != nil {
		return used, 0, err
	}
	before, err := s.process.Usage()
	if err != nil {
		return used, 0, err
	}
	if n, err = f(); err != nil {
		return used, n, err
	}
	if err := s.settle(ctx); err != nil {
		return used, n, err
	}
	after, err := s.process.Usage()
	if err != nil {
		return used, n, err
	}
	return minus(after, before), n, s.process.Watch(false)
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
	arrival := s.gauge.Await(c.fresh.Addr().String())
	limited, stop := s.limit(ctx, s.job.ChangeCutoff)
	defer stop()
	began := time.Now()
	if err := s.now.make(ctx, s.client, c); err != nil { // not limited: what is under way must be known to have been made
		return changed{}, err
	}
	var last time.Time
	var cut bool
	for _, wait := range waits {
		at, err := wait(limited)
		if cut, err = cutOff(limited, err); err != nil {
			return changed{}, err
		}
		if cut {
			last = time.Now()
			break
		}
		last = later(last, at)
	}
	select {
	case arrived := <-arrival:
		return changed{arrival: last.Sub(arrived), patch: last.Sub(began), cut: cut}, nil
	case <-time.After(time.Second):
		return changed{}, fmt.Errorf("the change to %s did not pass the gauge", c.fresh)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// changeSamples are the samples of a series. One that was cut off makes all of it a lower bound, so it stands alone.
func (s *session) changeSamples(all []changed) (arrival, patch result.Sample) {
	cut := slices.ContainsFunc(all, func(c changed) bool { return c.cut })
	arrival, patch = s.sample(result.Arrival, result.Seconds), s.sample(result.Patch, result.Seconds)
	arrival.AtLeast, patch.AtLeast = cut, cut
	for _, c := range all {
		if c.cut == cut {
			arrival.Values = append(arrival.Values, c.arrival.Seconds())
			patch.Values = append(patch.Values, c.patch.Seconds())
		}
	}
	return arrival, patch
}
