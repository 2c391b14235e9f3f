package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

// chaos is one run.
type chaos struct {
	options
	progress io.Writer
	dir      *lab.TempDir
	plane    *cluster.ControlPlane
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
	if c.dir, err = lab.NewTempDir("", "kube-ipvs-chaos-"); err != nil {
		return err
	}
	record := Record{
		Date: time.Now().UTC().Truncate(time.Second), Machine: fmt.Sprintf("%d cores, QEMU TCG, 1 processor in the guest", runtime.NumCPU()),
		Versions: map[string]string{},
	}
	guest, err := c.prepare(ctx, &record)
	if err != nil {
		return err
	}
	c.say("seed %d, %v", c.job.Seed, c.job.Duration)
	o := &observer{progress: c.progress}
	report, err := guest.Run(ctx, lab.Job{Steps: []lab.Step{{Name: job.Program, Args: []string{job.Program}, Network: true}}}, o)
	record.Kernel = report.Boot.Kernel
	if err != nil {
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
		c.say("seed %d: the fault %q was found: %s", c.job.Seed, r.Job.Fault, found)
		return nil
	}
	problems := r.Problems()
	if len(problems) > 0 {
		return fmt.Errorf("seed %d: not as it should be:\n  %s", c.job.Seed, strings.Join(problems, "\n  "))
	}
	c.say("seed %d: every promise was kept", c.job.Seed)
	return nil
}

// prepare builds what is missing, starts the control plane, and makes a guest.
func (c *chaos) prepare(ctx context.Context, record *Record) (*lab.Guest, error) {
	builder, err := cluster.NewBuilder(c.progress)
	if err != nil {
		return nil, err
	}
	kubernetes, err := builder.Build(ctx)
	if err != nil {
		return nil, err
	}
	l, err := lab.New(c.progress)
	if err != nil {
		return nil, err
	}
	kernel, err := l.Prepare(ctx, false)
	if err != nil {
		return nil, err
	}
	guest := &lab.Guest{
		Kernel: kernel, Init: filepath.Join(c.dir.Path, "init"), Memory: c.memory, Network: &lab.Network{}, Out: c.out,
	}
	version := describe(ctx)
	record.Versions["kube-ipvs"], record.Versions["kubernetes"], record.Versions["go"] = version, kubernetes.Version, runtime.Version()
	for _, program := range []struct{ name, pkg, ldflags string }{
		{"init", "./e2e/lab/init", ""},
		{job.Program, "./e2e/chaos/guest", ""},
		{"kube-ipvs", "./cmd/kube-ipvs", " -X main.version=" + version},
	} {
		c.say("building %s", program.name)
		file := filepath.Join(c.dir.Path, program.name)
		cmd := lab.GoCommand(ctx, c.dir.Path, "build", "-trimpath", "-ldflags", "-s -w"+program.ldflags, "-o", file, program.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", program.name, err, out)
		}
		if program.name != "init" {
			guest.Files = append(guest.Files, lab.File{Source: file, Dest: "/usr/local/bin/" + program.name})
		}
	}
	if c.plane, err = cluster.Start(ctx, cluster.Options{Binaries: kubernetes, Controllers: []string{}}); err != nil {
		return nil, err
	}
	files, err := c.files()
	guest.Files = append(guest.Files, files...)
	return guest, err
}

// files are the job and the administrator's credentials.
func (c *chaos) files() ([]lab.File, error) {
	spec, err := json.MarshalIndent(c.job, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode job: %w", err)
	}
	admin, err := cluster.Kubeconfig(c.plane.ForGuest(c.plane.Admin()))
	if err != nil {
		return nil, err
	}
	var files []lab.File
	for dest, content := range map[string][]byte{job.Path: spec, job.Admin: admin} {
		source := filepath.Join(c.dir.Path, filepath.Base(dest))
		if err := os.WriteFile(source, content, 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", filepath.Base(dest), err)
		}
		files = append(files, lab.File{Source: source, Dest: dest})
	}
	return files, nil
}

// describe is the version of the tree.
func describe(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "dev"
	}
	return strings.TrimSpace(string(out))
}

func (c *chaos) close() error {
	var errs []error
	if c.plane != nil {
		errs = append(errs, c.plane.Close())
	}
	if c.dir != nil {
		errs = append(errs, c.dir.Remove())
	}
	return errors.Join(errs...)
}

func (c *chaos) say(format string, args ...any) {
	fmt.Fprintf(c.progress, name(c.job)+": "+format+"\n", args...)
}

// observer shows what the guest says and keeps its result. It implements lab.Observer.
type observer struct {
	progress io.Writer
	stdout   bytes.Buffer
	exit     lab.Exit
}

// Started implements lab.Observer.
func (*observer) Started(int) {}

// Output implements lab.Observer.
func (o *observer) Output(_ int, s lab.Stream, data []byte) {
	if s == lab.Stderr {
		_, _ = o.progress.Write(data)
		return
	}
	_, _ = o.stdout.Write(data)
}

// Exited implements lab.Observer.
func (o *observer) Exited(e lab.Exit) { o.exit = e }

// result is what the guest said in the end.
func (o *observer) result() (r job.Result, err error) {
	if o.exit.Error != "" || o.exit.Code != 0 {
		return r, fmt.Errorf("the guest's program ended with code %d: %s", o.exit.Code, o.exit.Error)
	}
	if err := json.Unmarshal(o.stdout.Bytes(), &r); err != nil {
		return r, fmt.Errorf("the guest's result: %w", err)
	}
	return r, nil
}
