package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Suite runs the tests of packages in the lab.
type Suite struct {
	Packages []Package
	Programs []string      // packages main that go into PATH
	Files    []File        // of the host's, for the guest
	Tags     []string      // build tags beside KernelTag: their tests are run if Run names them
	Run      string        // -test.run; "" runs the kernel tests
	Bench    string        // -test.bench
	Count    int           // -test.count: how often each package's tests run, one after the other; once if less
	Verbose  bool          // print all output, not only that of failures
	Timeout  time.Duration // of the guest, or of the tests on the host; what is built before does not count
	Out      string        // directory for what the tests leave in $LAB_OUT; may be ""
	Output   io.Writer     // gets the report
}

// runner is a Guest or a Host.
type runner interface {
	Run(context.Context, Job, Observer) (Report, error)
	place(Boot) string // where the tests ran
}

func (*Guest) place(b Boot) string { return strings.TrimSpace("guest " + b.Kernel) }
func (*Host) place(b Boot) string  { return strings.TrimSpace("host " + b.Kernel) }

// ErrFailed is returned where tests failed and the report says which.
var ErrFailed = errors.New("tests failed")

// RunGuest runs the suite in a guest of the kernel, with so much memory.
func (s *Suite) RunGuest(ctx context.Context, k Kernel, memory string, console io.Writer) error {
	return s.inDirectory(func(dir string) error {
		init, err := BuildInit(ctx, dir)
		if err != nil {
			return err
		}
		g := &Guest{Kernel: k, Init: init, Memory: memory, Out: s.Out, Console: console, Files: s.Files, Timeout: s.Timeout}
		if err := s.build(ctx, dir); err != nil {
			return err
		}
		for _, p := range s.Programs {
			file, err := BuildProgram(ctx, p, dir)
			if err != nil {
				return err
			}
			g.Files = append(g.Files, File{file, "/usr/local/bin/" + filepath.Base(file)})
		}
		var job Job
		for i, p := range s.Packages {
			home := path.Join(guestDir, "src", p.Name)
			binary := path.Join(home, path.Base(p.Path)+".test")
			g.Files = append(g.Files, File{testBinary(dir, i), binary})
			if data := filepath.Join(p.Dir, "testdata"); isDir(data) {
				g.Files = append(g.Files, File{data, path.Join(home, "testdata")})
			}
			job.Steps = append(job.Steps, s.step(p, binary, home))
		}
		return s.run(ctx, g, job)
	})
}

// RunHost runs the suite in the machine's own kernel. The tests see the machine's own files.
func (s *Suite) RunHost(ctx context.Context) error {
	if err := CheckHost(); err != nil {
		return err
	}
	return s.inDirectory(func(dir string) error {
		bin := filepath.Join(dir, "bin")
		h := &Host{Path: bin, Out: s.Out, Timeout: s.Timeout}
		if h.Out == "" {
			h.Out = filepath.Join(dir, "out")
		}
		if err := errors.Join(os.MkdirAll(bin, 0o755), os.MkdirAll(h.Out, 0o755)); err != nil {
			return err
		}
		if err := s.build(ctx, dir); err != nil {
			return err
		}
		for _, p := range s.Programs {
			if _, err := BuildProgram(ctx, p, bin); err != nil {
				return err
			}
		}
		var job Job
		for i, p := range s.Packages {
			job.Steps = append(job.Steps, s.step(p, testBinary(dir, i), p.Dir))
		}
		return s.run(ctx, h, job)
	})
}

func (s *Suite) inDirectory(f func(dir string) error) error {
	dir, err := NewTempDir("", "kube-ipvs-lab-")
	if err != nil {
		return fmt.Errorf("build tests: %w", err)
	}
	defer func() { _ = dir.Remove() }()
	return f(dir.Path)
}

func (s *Suite) build(ctx context.Context, dir string) error {
	for i, p := range s.Packages {
		if err := BuildTest(ctx, p, testBinary(dir, i), s.Tags...); err != nil {
			return err
		}
	}
	return nil
}

func testBinary(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("%d.test", i)) }

// step runs a package's test binary. test2json's marks keep a test's own output from being taken for a verdict. The
// binary's own timeout comes a little before the lab's, because it says where every goroutine stands; the lab's runs
// from the start of the guest.
func (s *Suite) step(p Package, binary, dir string) Step {
	own := max(s.Timeout*9/10-5*time.Second, s.Timeout/2)
	args := []string{binary, "-test.v=test2json", "-test.timeout=" + own.String()}
	switch {
	case s.Run != "":
		args = append(args, "-test.run="+s.Run)
	case s.Bench != "":
		args = append(args, "-test.run=^$")
	case len(p.Tests) > 0:
		args = append(args, "-test.run=^("+strings.Join(p.Tests, "|")+")$")
	}
	if s.Bench != "" {
		args = append(args, "-test.bench="+s.Bench)
	}
	if s.Count > 1 {
		args = append(args, "-test.count="+strconv.Itoa(s.Count))
	}
	return Step{Name: p.Name, Args: args, Dir: dir, OneStream: true}
}

// run runs the job and reports on it.
func (s *Suite) run(ctx context.Context, r runner, job Job) error {
	o := &testObserver{suite: s}
	report, err := r.Run(ctx, job, o)
	results := o.finish()
	failed := err != nil
	for _, result := range results {
		problem := result.Problem()
		failed = failed || problem != ""
		s.printResult(result, problem, r.place(report.Boot))
	}
	if err == nil && report.Ready > 0 {
		fmt.Fprintf(s.Output, "guest %s: our code ran %.1fs after the start, all was done after %.1fs\n",
			report.Boot.Kernel, report.Ready.Seconds(), report.Total.Seconds())
	}
	if err != nil {
		return err
	}
	if failed || len(results) != len(s.Packages) {
		return ErrFailed
	}
	return nil
}

func (s *Suite) printResult(r Result, problem, place string) {
	tests := count(topLevel(r.Passed), "test")
	if problem == "" {
		fmt.Fprintf(s.Output, "ok    %s\t%s\t%.1fs (%s)\n", r.Package, tests, r.Elapsed.Seconds(), place)
		return
	}
	fmt.Fprintf(s.Output, "FAIL  %s\t%s passed\t%.1fs (%s): %s\n", r.Package, tests, r.Elapsed.Seconds(), place, problem)
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}
