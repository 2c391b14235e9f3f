package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

// options are the command line.
type options struct {
	job       job.Job
	out, docs string
	writeDocs bool
	size      experiment.Size
}

var errHelp = flag.ErrHelp

// parse reads the command line.
func parse(usage io.Writer, args []string) (options, error) {
	o := options{job: job.Chaos(), size: experiment.Size{CPUs: 1}}
	if slices.Contains(args, "-soak") || slices.Contains(args, "--soak") {
		o.job, o.size.CPUs = job.Soak(), 2 // who makes the changes takes more of a processor than the agent
	}
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(usage)
	f.BoolVar(&o.job.Soak, "soak", o.job.Soak, "no kills, but changes at a rate, and what may not grow: other flags change what they begin with")
	f.Uint64Var(&o.job.Seed, "seed", o.job.Seed, "of what is done, to whom and when")
	f.DurationVar(&o.job.Duration, "duration", o.job.Duration, "how long it goes on")
	f.IntVar(&o.job.Deployments, "deployments", o.job.Deployments, "with a pod on each of both nodes")
	f.IntVar(&o.job.Each, "each", o.job.Each, "Services of each deployment")
	f.IntVar(&o.job.Workers, "workers", o.job.Workers, "that ask with TCP, and as many with UDP")
	f.IntVar(&o.job.Flows, "flows", o.job.Flows, "sockets of UDP that are used again and again")
	f.IntVar(&o.job.Connections, "connections", o.job.Connections, "that live long")
	f.DurationVar(&o.job.Pause, "pause", o.job.Pause, "of a worker after a request")
	f.DurationVar(&o.job.Propagation, "propagation", o.job.Propagation, "how long the agent has for a change while nothing is in its way")
	f.DurationVar(&o.job.PreStop, "prestop", o.job.PreStop, "how long a pod that terminates goes on to serve")
	f.IntVar(&o.job.Rate, "rate", o.job.Rate, "of a soak: changes a minute")
	f.IntVar(&o.job.Churn, "churn", o.job.Churn, "of a soak: Services that are changed, and that nobody asks")
	f.DurationVar(&o.job.Interval, "interval", o.job.Interval, "of a soak: between two samples")
	f.StringVar(&o.job.Fault, "fault", o.job.Fault, "put in a fault that has to be found: "+strings.Join(job.Faults(), ", "))
	f.StringVar(&o.out, "out", "", "folder for the results (default out/chaos or out/soak)")
	f.StringVar(&o.docs, "docs", "docs/reliability.md", "the page that -write-docs writes its part of")
	f.BoolVar(&o.writeDocs, "write-docs", false, "write this run's part of the page")
	f.StringVar(&o.size.Memory, "mem", "2G", "of the guest")
	f.IntVar(&o.size.CPUs, "cpus", o.size.CPUs, "of the guest")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.size.CPUs < 1 {
		return o, fmt.Errorf("-cpus %d: a guest has one at least", o.size.CPUs)
	}
	if o.writeDocs && o.job.Fault != "" {
		return o, errors.New("-write-docs: the page is not of runs with a fault put in")
	}
	if o.job.Fault != "" && o.job.Soak {
		return o, errors.New("-fault is for chaos, not for a soak")
	}
	if o.out == "" {
		o.out = "out/" + name(o.job)
	}
	return o, o.job.Validate()
}

// name is what a run is called.
func name(j job.Job) string {
	if j.Soak {
		return "soak"
	}
	return "chaos"
}
