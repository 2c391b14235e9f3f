package lab

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// fakeRunner plays a machine in which test binaries print what it is told. A package without a script is never
// started.
type fakeRunner struct {
	output []string
	exit   []*Exit // nil: its end is never seen
	err    error
}

func (f *fakeRunner) place(Boot) string { return "fake" }

func (f *fakeRunner) Run(_ context.Context, _ Job, o Observer) (Report, error) {
	for i, out := range f.output {
		o.Started(i)
		for _, b := range []byte(out) { // as finely cut as can be
			o.Output(i, Stdout, []byte{b})
		}
		if f.exit[i] != nil {
			o.Exited(*f.exit[i])
		}
	}
	return Report{}, f.err
}

const (
	mark      = "\x16"
	passA     = mark + "=== RUN   TestA\n" + mark + "--- PASS: TestA (0.00s)\n"
	skipB     = mark + "=== RUN   TestB\n    b_test.go:1: no IPVS here\n" + mark + "--- SKIP: TestB (0.00s)\n"
	failC     = mark + "=== RUN   TestC\n    c_test.go:1: broken\n" + mark + "--- FAIL: TestC (0.00s)\n"
	skipSub   = mark + "=== RUN   TestD\n" + mark + "=== RUN   TestD/v6\n" + mark + "--- SKIP: TestD/v6 (0.00s)\n" + mark + "=== NAME  TestD\n" + mark + "--- PASS: TestD (0.00s)\n"
	benchE    = mark + "=== RUN   BenchmarkE\nBenchmarkE\nBenchmarkE \t     100\t     123 ns/op\n" + mark + "=== NAME  \n"
	openF     = mark + "=== RUN   TestF\n    f_test.go:1: now what\n"
	trailerOK = mark + "PASS\n"
	trailerNo = mark + "FAIL\n"
)

func TestSuiteFailsUnlessTestsRanAndAllPassed(t *testing.T) {
	died := errors.New("the guest died")
	ok, one := &Exit{}, &Exit{Code: 1}
	for name, c := range map[string]struct {
		output string
		exit   *Exit
		err    error
		want   string // of the report; it begins with ok or FAIL
	}{
		"all tests pass":                     {passA + trailerOK, ok, nil, "ok    ./a\t1 test"},
		"a benchmark ran":                    {benchE + trailerOK, ok, nil, "ok    ./a\t1 test"},
		"a benchmark ends the binary":        {benchE, ok, nil, "before the verdict on: BenchmarkE"},
		"a test fails":                       {passA + failC + trailerNo, one, nil, "1 test failed: TestC"},
		"a test fails but the code is 0":     {passA + failC + trailerNo, ok, nil, "1 test failed: TestC"},
		"a test is skipped":                  {passA + skipB + trailerOK, ok, nil, "1 test skipped, which counts as failure here: TestB"},
		"a subtest is skipped":               {skipSub + trailerOK, ok, nil, "1 test skipped, which counts as failure here: TestD/v6"},
		"no test ran":                        {trailerOK, ok, nil, "no test ran"},
		"no output at all":                   {"", ok, nil, "ended without saying PASS"},
		"the trailer is missing":             {passA + mark + "=== NAME  \n", ok, nil, "ended without saying PASS"},
		"the last verdict may be cut off":    {passA, ok, nil, "ended with code 0 before the verdict on: TestA"},
		"only a test says PASS":              {passA + mark + "=== RUN   TestB\nPASS\n" + mark + "--- PASS: TestB (0.00s)\n" + mark + "=== NAME  \n", ok, nil, "ended without saying PASS"},
		"the binary ends in a test":          {passA + openF, &Exit{Code: 7}, nil, "ended with code 7 before the verdict on: TestF"},
		"the code is 1 though all pass":      {passA + trailerOK, one, nil, "ended with code 1"},
		"the binary could not be started":    {"", &Exit{Code: 126, Error: "exec format error"}, nil, "could not run: exec format error"},
		"the guest dies in a test":           {passA + openF, nil, died, "no verdict on: TestF"},
		"the guest dies between tests":       {passA + mark + "=== NAME  \n", nil, died, "did not run to its end"},
		"the guest dies after the last test": {passA + trailerOK, ok, died, "ok    ./a\t1 test"},
	} {
		t.Run(name, func(t *testing.T) {
			var report bytes.Buffer
			s := &Suite{Packages: []Package{{Path: "example/a", Name: "./a"}}, Timeout: time.Minute, Output: &report}
			err := s.run(t.Context(), &fakeRunner{[]string{c.output}, []*Exit{c.exit}, c.err}, Job{})
			if !strings.Contains(report.String(), c.want) {
				t.Errorf("report:\n%s\nwant %q", &report, c.want)
			}
			switch good := strings.HasPrefix(c.want, "ok") && c.err == nil; {
			case good && err != nil:
				t.Errorf("error %v", err)
			case !good && err == nil:
				t.Error("no error")
			case c.err != nil && !errors.Is(err, c.err):
				t.Errorf("error %v, want %v", err, c.err)
			}
		})
	}
}

func TestSuiteFailsIfAPackageWasNeverStarted(t *testing.T) {
	var report bytes.Buffer
	s := &Suite{Packages: []Package{{Path: "a", Name: "./a"}, {Path: "b", Name: "./b"}}, Timeout: time.Minute, Output: &report}
	err := s.run(t.Context(), &fakeRunner{[]string{passA + trailerOK}, []*Exit{{}}, nil}, Job{})
	if !errors.Is(err, ErrFailed) || !strings.Contains(report.String(), "./b\t0 tests passed") {
		t.Errorf("error %v, report:\n%s", err, &report)
	}
}

func TestSuiteShowsTheOutputOfWhatWentWrongOnly(t *testing.T) {
	for name, c := range map[string]struct {
		verbose bool
		want    []string
		not     []string
	}{
		"quiet":   {false, []string{"broken", "no IPVS here", "123 ns/op", "now what"}, []string{"=== RUN   TestA", mark}},
		"verbose": {true, []string{"broken", "no IPVS here", "123 ns/op", "now what", "=== RUN   TestA"}, []string{mark}},
	} {
		t.Run(name, func(t *testing.T) {
			var report bytes.Buffer
			s := &Suite{Packages: []Package{{Path: "a", Name: "./a"}}, Timeout: time.Minute, Output: &report, Verbose: c.verbose}
			_ = s.run(t.Context(), &fakeRunner{[]string{passA + skipB + failC + benchE + openF}, []*Exit{{Code: 2}}, nil}, Job{})
			for _, w := range c.want {
				if !strings.Contains(report.String(), w) {
					t.Errorf("%q is missing in\n%s", w, &report)
				}
			}
			for _, n := range c.not {
				if strings.Contains(report.String(), n) {
					t.Errorf("%q is in\n%s", n, &report)
				}
			}
		})
	}
}

func TestKernelTestsAreFoundByTheirTag(t *testing.T) {
	packages, err := ListPackages(t.Context(), []string{"./..."})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if p.Name != "./e2e/lab" {
			continue
		}
		names := strings.Join(p.Tests, " ")
		if !strings.Contains(names, "TestClockIsTheHosts") || strings.Contains(names, "TestKernelTestsAreFound") {
			t.Errorf("kernel tests of %s: %s", p.Name, names)
		}
		return
	}
	t.Errorf("./e2e/lab is not among %v", packages)
}

func TestAPatternWithoutKernelTestsIsAnError(t *testing.T) {
	if _, err := ListPackages(t.Context(), []string{"./run/..."}); err == nil || !strings.Contains(err.Error(), "no package with kernel tests") {
		t.Errorf("error %v", err)
	}
}
