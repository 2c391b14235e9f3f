package main

import (
	"context"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/count"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// process is a running program: *count.Process.
type process interface {
	Started() time.Time
	Ended() <-chan struct{}
	End(s syscall.Signal, patience time.Duration) error
	Watch(on bool) error
	Usage() (result.Usage, error)
	Memory() (now, peak int64, err error)
}

var _ process = (*count.Process)(nil)

// around is what a session measures with, and knows nothing of: the machine, the program and the gauge between it and the API server.
type around struct {
	// launch starts the program, with counters of what it does if counted.
	launch func(counted bool) (process, error)
	// passes returns when the program's first pass ended.
	passes func(ctx context.Context) (time.Time, error)
	// arrives tells when a change began to go out to the program that has these bytes.
	arrives func(marker string) <-chan time.Time
	// rests returns when the machine has nothing to do for a moment, or after patience: then it reports false.
	rests func(ctx context.Context, patience time.Duration) bool
}

func newSession(r *runner, subject job.Subject, size int, p plan, selector string) *session {
	s := &session{runner: r, subject: subject, size: size, plan: p, selector: selector}
	s.around = around{
		launch:  s.execute,
		passes:  s.firstPass,
		arrives: func(marker string) <-chan time.Time { return s.gauge.Await(marker) },
		rests:   awaitRest,
	}
	return s
}
