package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

// chaos is one run.
type chaos struct {
	options
	*experiment.Experiment
	progress io.Writer
}

// Record is a run as it is kept: what the guest said, and where and when that was.
type Record struct {
	Date     time.Time
	Machine  string
	Kernel   string
	Versions map[string]string
	job.Result
}

// run runs everything and writes the folder. Its error says what was not as it should be.
func (c *chaos) run(ctx context.Context) error {
	var err error
	c.Experiment, err = experiment.Prepare(ctx, experiment.Plan{
		Name: name(c.job), Program: job.Program, Package: "./e2e/chaos/guest", Job: job.Path, Admin: job.Admin, Progress: c.progress,
	})
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	record := Record{Date: time.Now().UTC().Truncate(time.Second), Machine: c.size.Machine(), Versions: c.Versions}
	c.Say("seed %d, %v", c.job.Seed, c.job.Duration)
	o := &observer{progress: c.progress}
	if record.Kernel, err = c.Run(ctx, c.job, c.size, c.out, o); err != nil {
		return err
	}
	if record.Result, err = o.result(); err != nil {
		return err
	}
	if err := c.write(record); err != nil {
		return err
	}
	return c.verdict(record)
}

// verdict is an error if anything was not as it should be. A fault that was put in has to be found.
func (c *chaos) verdict(r Record) error {
	if r.Job.Fault != "" && len(r.Errors) == 0 {
		found := r.Found()
		if found == "" {
			return fmt.Errorf("seed %d: the fault %q was put in, and was not found", c.job.Seed, r.Job.Fault)
		}
		c.Say("seed %d: the fault %q was found: %s", c.job.Seed, r.Job.Fault, found)
		return nil
	}
	problems := r.Problems()
	if len(problems) > 0 {
		return fmt.Errorf("seed %d: not as it should be:\n  %s", c.job.Seed, strings.Join(problems, "\n  "))
	}
	c.Say("seed %d: every promise was kept", c.job.Seed)
	return nil
}

func (c *chaos) close() error {
	if c.Experiment == nil {
		return nil
	}
	return c.Close()
}
