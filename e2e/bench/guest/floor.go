package main

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/floor"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// bareChange is result.BareChange, the program: it follows the API server that a kubeconfig leads to.
func bareChange(ctx context.Context, kubeconfig string) error {
	j, err := job.Read(job.Path)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	return floor.Follow(ctx, config.Host, j.Plan)
}

// floorNote says what a floor is.
const floorNote = "a floor: it reads a watch, writes the new real server and weight 0 of the old one, and does nothing else"

// floor times the same changes, with the same rests, of the least program that makes them. What it replaces stays: nobody leaves.
func (s *session) floor(ctx context.Context) error {
	s.doing = result.Arrival
	if err := s.start(false); err != nil {
		return err
	}
	limited, stop := s.limit(ctx, s.job.Cutoff)
	defer stop()
	if _, _, err := s.observer.Complete(limited, s.now.want(s.all())); err != nil {
		return fmt.Errorf("the first table: %w", err)
	}
	s.busy = !awaitRest(ctx, s.job.Settle)
	timed, err := s.series(ctx, s.plan.changes)
	if err != nil {
		return err
	}
	for _, sample := range s.changeSamples(timed) {
		if sample.Measure == result.Arrival {
			sample.Note = floorNote
			s.emit(s.atRest(sample))
		}
	}
	return nil
}
