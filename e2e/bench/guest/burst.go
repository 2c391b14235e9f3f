package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// burstWriters make changes at a time, through a client of their own.
const burstWriters = 8

// burst makes many changes as fast as the API server takes them, and reads the CPU time until the program has come to rest: until the real
// servers that were replaced are gone, too.
func (s *session) burst(ctx context.Context) error {
	client, err := newClient(s.config)
	if err != nil {
		return err
	}
	if s.busy { // with a change that was cut off: what it has left is not the burst's
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	before, err := s.process.Usage()
	if err != nil {
		return err
	}
	order := s.job.Plan.Order(s.size)
	profiled := s.profile(ctx, result.Burst)
	limited, stop := s.limit(ctx, s.job.Cutoff)
	defer stop()
	began := time.Now()
	// Each Service is one writer's, so that its changes come in their order.
	var writers errgroup.Group
	for w := range min(burstWriters, len(order)) {
		writers.Go(func() error {
			for n := range s.job.Burst {
				if k := n % len(order); k%burstWriters == w {
					c, err := s.now.change(order[k])
					if err == nil {
						err = s.now.make(ctx, client, c) // not limited: what is under way must be known to have been made
					}
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := writers.Wait(); err != nil {
		return err
	}
	written := time.Since(began)
	changed := order[:min(len(order), s.job.Burst)]
	for _, service := range changed {
		s.leaving.add(s.job.Plan.Frontends(service))
	}
	_, _, err = s.observer.Complete(limited, s.now.want(changed))
	cut, err := cutOff(limited, err)
	if err != nil {
		return err
	}
	took := time.Since(began)
	there, err := s.process.Usage()
	if err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	after, err := s.process.Usage()
	if err != nil {
		return err
	}
	used := minus(after, before)
	profiled()
	sample := s.sample(result.Burst, result.Seconds, used.CPU.Seconds())
	sample.AtLeast, sample.Changes = cut, s.job.Burst
	sample.Usage = &result.Usage{CPU: used.CPU}
	sample.Note = fmt.Sprintf("the API server had all of them after %.1f s, the kernel after %.1f s and %.1f s of CPU time",
		written.Seconds(), took.Seconds(), minus(there, before).CPU.Seconds())
	s.emit(s.atRest(sample))
	return nil
}
