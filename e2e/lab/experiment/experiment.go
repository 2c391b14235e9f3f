// Package experiment is what make bench and make chaos have in common: one program in a guest, beside a control plane on the
// machine.
//
//	Prepare: Kubernetes, kernel, init, program, agent ─► Start: etcd, kube-apiserver ─► Run: the job goes in, observations come out
package experiment

import (
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

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

// BinDir is where the guest has the programs that an experiment builds.
const BinDir = "/usr/local/bin/"

// Plan is what an experiment needs.
type Plan struct {
	Name    string // of the command: progress and the directory for what is built bear it
	Program string // what runs in the guest, and what it is called there
	Package string // that the program is built from
	// Job and Admin are where the guest finds its job and an administrator's credentials.
	Job, Admin string
	Kubernetes []string // programs to build beside etcd and kube-apiserver
	Progress   io.Writer
}

// Experiment is one run.
type Experiment struct {
	Plan
	Lab        *lab.Lab
	Kubernetes cluster.Binaries
	// Files go into the guest; more may be added until Run.
	Files []lab.File
	// Versions of what takes part, by name.
	Versions map[string]string
	// Plane is there after Start.
	Plane  *cluster.ControlPlane
	kernel lab.Kernel
	dir    *lab.TempDir
}

// Prepare builds and installs what is missing. The experiment is to be closed, also after an error.
func Prepare(ctx context.Context, plan Plan) (*Experiment, error) {
	e := &Experiment{Plan: plan, Versions: map[string]string{}}
	var err error
	if e.dir, err = lab.NewTempDir("", "kube-ipvs-"+plan.Name+"-"); err != nil {
		return e, err
	}
	builder, err := cluster.NewBuilder(plan.Progress)
	if err != nil {
		return e, err
	}
	if e.Kubernetes, err = builder.Build(ctx, plan.Kubernetes...); err != nil {
		return e, err
	}
	if e.Lab, err = lab.New(plan.Progress); err != nil {
		return e, err
	}
	if e.kernel, err = e.Lab.Prepare(ctx, false); err != nil {
		return e, err
	}
	return e, e.build(ctx)
}

// build builds our own programs.
func (e *Experiment) build(ctx context.Context) error {
	version := describe(ctx)
	e.Versions["kube-ipvs"], e.Versions["kubernetes"], e.Versions["go"] = version, e.Kubernetes.Version, runtime.Version()
	for _, program := range []struct{ file, pkg, ldflags string }{
		{e.init(), "./e2e/lab/init", ""},
		{e.path(e.Program), e.Package, ""},
		{e.path("kube-ipvs"), "./cmd/kube-ipvs", " -X main.version=" + version},
	} {
		name := filepath.Base(program.file)
		e.Say("building %s", name)
		cmd := lab.GoCommand(ctx, e.dir.Path, "build", "-trimpath", "-ldflags", "-s -w"+program.ldflags, "-o", program.file, program.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		if program.file != e.init() {
			e.Files = append(e.Files, lab.File{Source: program.file, Dest: BinDir + name})
		}
	}
	return nil
}

// Start starts the control plane, without controllers: the experiment makes all objects itself.
func (e *Experiment) Start(ctx context.Context) (err error) {
	e.Plane, err = cluster.Start(ctx, cluster.Options{Binaries: e.Kubernetes, Controllers: []string{}})
	return err
}

// Size is that of a guest.
type Size struct {
	Memory string // as QEMU takes it
	CPUs   int
}

// Machine is what an experiment in a guest of this size runs on, in words.
func (s Size) Machine() string {
	text := fmt.Sprintf("%d cores, QEMU TCG, %d processor", runtime.NumCPU(), s.CPUs)
	if s.CPUs != 1 {
		text += "s"
	}
	return text + " in the guest"
}

// Run runs the program in a guest to its end and returns the guest's kernel. The job goes in as JSON; what the program prints goes to
// the observer; out is a folder for what the guest leaves, "" drops that.
func (e *Experiment) Run(ctx context.Context, job any, size Size, out string, o lab.Observer) (kernel string, err error) {
	files, err := e.inputs(job)
	if err != nil {
		return "", err
	}
	guest := &lab.Guest{Kernel: e.kernel, Init: e.init(), Memory: size.Memory, CPUs: size.CPUs, Files: append(files, e.Files...), Network: &lab.Network{}, Out: out}
	steps := []lab.Step{{Name: e.Program, Args: []string{e.Program}, Network: true}}
	report, err := guest.Run(ctx, lab.Job{Steps: steps}, o)
	return report.Boot.Kernel, err
}

// inputs are the job and the administrator's credentials.
func (e *Experiment) inputs(job any) ([]lab.File, error) {
	spec, err := json.MarshalIndent(job, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode job: %w", err)
	}
	admin, err := cluster.Kubeconfig(e.Plane.ForGuest(e.Plane.Admin()))
	if err != nil {
		return nil, err
	}
	var files []lab.File
	for dest, content := range map[string][]byte{e.Job: spec, e.Admin: admin} {
		source := e.path(filepath.Base(dest))
		if err := os.WriteFile(source, content, 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", filepath.Base(dest), err)
		}
		files = append(files, lab.File{Source: source, Dest: dest})
	}
	return files, nil
}

// Close ends the control plane and removes what was built.
func (e *Experiment) Close() error {
	var errs []error
	if e.Plane != nil {
		errs = append(errs, e.Plane.Close())
	}
	if e.dir != nil {
		errs = append(errs, e.dir.Remove())
	}
	return errors.Join(errs...)
}

// Say tells the progress.
func (e *Experiment) Say(format string, args ...any) {
	fmt.Fprintf(e.Progress, e.Name+": "+format+"\n", args...)
}

func (e *Experiment) path(name string) string { return filepath.Join(e.dir.Path, name) }

func (e *Experiment) init() string { return e.path("init") }

// describe is the version of the tree.
func describe(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "dev"
	}
	return strings.TrimSpace(string(out))
}
