package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

// bench is one run.
type bench struct {
	options
	progress io.Writer
	dir      *lab.TempDir // of programs and credentials
	plane    *cluster.ControlPlane
}

// run measures everything and writes the folder, also if something failed: its error says what.
func (b *bench) run(ctx context.Context) error {
	began := time.Now()
	var err error
	if b.dir, err = lab.NewTempDir("", "kube-ipvs-bench-"); err != nil {
		return err
	}
	p, err := b.prepare(ctx)
	if err != nil {
		return err
	}
	b.say("everything is built after %v", since(began))
	run := b.newRun(p)
	b.plane, err = cluster.Start(ctx, cluster.Options{Binaries: p.kubernetes, Controllers: []string{}})
	if err != nil {
		return err
	}
	if err := b.createObjects(ctx); err != nil {
		return err
	}
	b.say("the API server has the objects after %v", since(began))
	failed := b.measure(ctx, p, &run)
	run.Took = time.Since(run.Date).Round(time.Second)
	if len(run.Samples) == 0 {
		return errors.Join(failed, errors.New("nothing was measured"))
	}
	return errors.Join(failed, b.write(run))
}

func (b *bench) newRun(p *programs) result.Run {
	run := result.Run{
		Date: time.Now().UTC().Truncate(time.Second), Machine: fmt.Sprintf("%d cores, QEMU TCG, 1 processor in the guest", runtime.NumCPU()),
		Seed: b.job.Plan.Seed, Sizes: b.job.Plan.Sizes, Endpoints: b.job.Plan.Endpoints, Addresses: len(objects.Addresses()),
		Pairs: b.job.Pairs, Versions: p.versions, Commands: map[string][]string{},
	}
	for _, s := range b.job.Chosen() {
		run.Commands[s.Name] = append([]string{s.Program}, s.Args...)
	}
	return run
}

// measure runs the guest to its end and adds what it measured, and what was measured beside it.
func (b *bench) measure(ctx context.Context, p *programs, run *result.Run) error {
	files, err := b.guestFiles()
	if err != nil {
		return err
	}
	out := ""
	if b.logs || b.job.Profiles {
		out = b.out
	}
	guest := &lab.Guest{
		Kernel: p.kernel, Init: p.init, Memory: b.memory, Files: append(files, p.files...), Network: &lab.Network{}, Out: out,
	}
	c := &collector{progress: b.progress, run: run}
	ctx, stop := context.WithCancel(ctx)
	defer stop() // nobody waits for the rest of a run that has failed
	m := b.startBeside(ctx)
	report, err := guest.Run(ctx, lab.Job{Steps: []lab.Step{{Name: job.Program, Args: []string{job.Program}, Network: true}}}, c)
	run.Kernel = report.Boot.Kernel
	c.flush()
	if err != nil {
		return err
	}
	return errors.Join(append(c.errs, m.add(run))...)
}

// guestFiles are the job and the administrator's credentials.
func (b *bench) guestFiles() ([]lab.File, error) {
	spec, err := json.MarshalIndent(b.job, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode job: %w", err)
	}
	admin, err := cluster.Kubeconfig(b.plane.ForGuest(b.plane.Admin()))
	if err != nil {
		return nil, err
	}
	var files []lab.File
	for dest, content := range map[string][]byte{job.Path: spec, job.Admin: admin} {
		source := filepath.Join(b.dir.Path, filepath.Base(dest))
		if err := os.WriteFile(source, content, 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", filepath.Base(dest), err)
		}
		files = append(files, lab.File{Source: source, Dest: dest})
	}
	return files, nil
}

// close ends the control plane and removes what is left.
func (b *bench) close() error {
	var errs []error
	if b.plane != nil {
		errs = append(errs, b.plane.Close())
	}
	if b.dir != nil {
		errs = append(errs, b.dir.Remove())
	}
	return errors.Join(errs...)
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

func since(began time.Time) time.Duration { return time.Since(began).Round(100 * time.Millisecond) }
