// Command guest is the benchmark inside of a guest: it measures one subject after the other and says what it measured on standard
// output, one result.Sample as JSON a line, and what it does on standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/count"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/floor"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func main() {
	count.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	do := measure
	if len(os.Args) > 2 && os.Args[1] == result.BareChange {
		do = func(ctx context.Context) error { return bareChange(ctx, os.Args[2]) }
	}
	err := do(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-guest:", err)
		os.Exit(1)
	}
}

// runner measures what a job asks for.
type runner struct {
	job      job.Job
	config   *rest.Config // of an administrator
	client   kubernetes.Interface
	now      *present
	began    time.Time
	failed   []error
	samples  io.Writer // one a line, for the host
	progress io.Writer // for people
}

func measure(ctx context.Context) error {
	r := &runner{began: time.Now(), samples: os.Stdout, progress: os.Stderr}
	var err error
	if r.job, err = job.Read(job.Path); err != nil {
		return err
	}
	if r.config, err = clientcmd.BuildConfigFromFlags("", job.Admin); err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	if r.client, err = newClient(r.config); err != nil {
		return err
	}
	if err := loadModules(ctx); err != nil {
		return err
	}
	r.now = newPresent(r.job.Plan)
	r.subjects(ctx)
	r.dataPaths(ctx)
	r.floors(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(r.failed...)
}

// newClient is an administrator's, which nothing slows down.
func newClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return client, nil
}

// subjects measures each of them at each size that it can take.
func (r *runner) subjects(ctx context.Context) {
	for _, size := range r.job.Plan.Sizes {
		for _, subject := range r.job.Chosen() {
			p := newPlan(r.job, subject, size)
			if p.skip || ctx.Err() != nil {
				continue
			}
			s := newSession(r, subject, size, p, r.job.Plan.Selector(size))
			if err := s.run(ctx); err != nil {
				r.fail(result.Sample{Subject: subject.Name, Measure: s.doing, Size: size}, err)
			}
		}
	}
}

func (r *runner) floors(ctx context.Context) {
	if r.job.Rounds == 0 {
		return
	}
	for _, size := range r.job.FloorSizes {
		if ctx.Err() != nil {
			return
		}
		r.say("the kernel's own limit at %d Services", size)
		err := floor.Run(ctx, r.job.Plan, size, r.job.Rounds, r.emit)
		if err != nil {
			r.fail(result.Sample{Subject: result.BareBatched, Measure: result.Programming, Size: size}, err)
		}
	}
}

// emit hands a sample to the host.
func (r *runner) emit(s result.Sample) {
	line, err := json.Marshal(s)
	if err != nil {
		r.failed = append(r.failed, fmt.Errorf("encode sample: %w", err))
		return
	}
	_, _ = r.samples.Write(append(line, '\n'))
	r.say("%s", describe(s))
}

// fail leaves a sample without values, which says why.
func (r *runner) fail(s result.Sample, err error) {
	s.Note = "failed: " + firstLine(err.Error())
	r.failed = append(r.failed, fmt.Errorf("%s %s at %d: %s", s.Subject, s.Measure, s.Size, firstLine(err.Error())))
	r.emit(s)
	r.say("%v", err)
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "[%6.1f s] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}
