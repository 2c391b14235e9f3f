package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

// bench is one run.
type bench struct {
	options
	*experiment.Experiment
	progress io.Writer
}

// run measures everything and writes the folder, also if something failed: its error says what.
func (b *bench) run(ctx context.Context) error {
	began := time.Now()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.Say("everything is built after %v", since(began))
	run := b.newRun()
	if err := b.Start(ctx); err != nil {
		return err
	}
	if err := b.createObjects(ctx); err != nil {
		return err
	}
	b.Say("the API server has the objects after %v", since(began))
	failed := b.measure(ctx, &run)
	run.Took = time.Since(run.Date).Round(time.Second)
	if len(run.Samples) == 0 {
		return errors.Join(failed, errors.New("nothing was measured"))
	}
	return errors.Join(failed, b.write(run))
}

func (b *bench) newRun() result.Run {
	run := result.Run{
		Date: time.Now().UTC().Truncate(time.Second), Machine: b.size().Machine(),
		Seed: b.job.Plan.Seed, Sizes: b.job.Plan.Sizes, Endpoints: b.job.Plan.Endpoints, Addresses: len(objects.Addresses()),
		Pairs: b.job.Pairs, Versions: b.Versions, Commands: map[string][]string{},
	}
	for _, s := range b.job.Chosen() {
		run.Commands[s.Name] = append([]string{s.Program}, s.Args...)
	}
	return run
}

// measure runs the guest to its end and adds what it measured, and what was measured beside it.
func (b *bench) measure(ctx context.Context, run *result.Run) error {
	out := ""
	if b.logs || b.job.Profiles {
		out = b.out
	}
	c := &collector{progress: b.progress, run: run}
	ctx, stop := context.WithCancel(ctx)
	defer stop() // nobody waits for the rest of a run that has failed
	m := b.startBeside(ctx)
	var err error
	run.Kernel, err = b.Run(ctx, b.job, b.size(), out, c)
	c.flush()
	if err != nil {
		return err
	}
	return errors.Join(append(c.errs, m.add(run))...)
}

// close ends the control plane and removes what is left.
func (b *bench) close() error {
	if b.Experiment == nil {
		return nil
	}
	return b.Close()
}

func since(began time.Time) time.Duration { return time.Since(began).Round(100 * time.Millisecond) }
