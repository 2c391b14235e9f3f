package main

import (
	"context"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/native"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// beside is a measurement on the machine itself while the guest runs. Once it has started, it takes next to no CPU time.
type beside struct {
	done   chan struct{}
	sample result.Sample
	err    error
}

// startBeside measures what kube-ipvs takes natively while nothing changes, if that is asked for.
func (b *bench) startBeside(ctx context.Context) *beside {
	if b.job.Steady <= 0 || !slices.Contains(b.job.Subjects, result.KubeIPVS) {
		return nil
	}
	m := &beside{done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.sample, m.err = native.Measure(ctx, native.Spec{Plan: b.job.Plan, Period: native.SyncPeriod, Watch: b.job.Steady})
		if m.err != nil {
			m.sample = result.Sample{
				Subject: result.KubeIPVS, Measure: result.SteadyNative, Size: b.job.Plan.Largest(), Unit: result.Ratio, Note: "failed: " + m.err.Error(),
			}
		}
	}()
	return m
}

// add waits for the end and adds what was measured.
func (m *beside) add(run *result.Run) error {
	if m == nil {
		return nil
	}
	<-m.done
	run.Samples = append(run.Samples, m.sample)
	return m.err
}
