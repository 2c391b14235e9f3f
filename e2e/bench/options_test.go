package main

import (
	"errors"
	"flag"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
)

func TestWithoutFlagsTheWholeBenchmarkRuns(t *testing.T) {
	o, err := parseTo(io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := job.Default(); !reflect.DeepEqual(o.job, want) {
		t.Errorf("the job is %+v, want %+v", o.job, want)
	}
	if o.writeDocs || o.out != "out/bench" {
		t.Errorf("it writes docs (%v), and to %s", o.writeDocs, o.out)
	}
}

func TestQuickChangesTheDefaultsAndOtherFlagsWin(t *testing.T) {
	o, err := parseTo(io.Discard, []string{"-changes", "7", "-quick", "-sizes", "30"})
	if err != nil {
		t.Fatal(err)
	}
	if o.job.Changes != 7 || !reflect.DeepEqual(o.job.Plan.Sizes, []int{30}) || o.job.Steady != job.Quick().Steady {
		t.Errorf("%+v", o.job)
	}
}

func TestTheFloorsAreMeasuredAtLargeSizesOrAtTheLargest(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []int
	}{
		{nil, []int{1000, 2700}},
		{[]string{"-sizes", "100,200"}, []int{200}},
		{[]string{"-floors", "100"}, []int{100}},
	} {
		o, err := parseTo(io.Discard, c.args)
		if err != nil || !reflect.DeepEqual(o.job.FloorSizes, c.want) {
			t.Errorf("%q: floors at %v (%v), want %v", c.args, o.job.FloorSizes, err, c.want)
		}
	}
}

func TestQuickIsSaidInEveryWay(t *testing.T) {
	for arg, want := range map[string]job.Job{"-quick": job.Quick(), "--quick": job.Quick(), "-quick=true": job.Quick(), "-quick=false": job.Default()} {
		o, err := parseTo(io.Discard, []string{arg})
		if err != nil || !reflect.DeepEqual(o.job, want) {
			t.Errorf("%s: %+v, %v", arg, o.job, err)
		}
	}
}

func TestANumberThatNothingCanBeDoneWithIsRefusedByTheNameOfItsFlag(t *testing.T) {
	leavesOut := []string{"changes", "proxy-changes", "counted", "burst", "pairs", "rounds", "steady", "proxy-steady"}
	for _, name := range slices.Concat(leavesOut, []string{"each", "cutoff", "change-cutoff", "floors"}) {
		values := []string{"-1", "0"}
		switch name {
		case "steady", "proxy-steady", "each", "cutoff", "change-cutoff":
			values = []string{"-1s", "0s"}
		}
		for _, value := range values {
			_, err := parseTo(io.Discard, []string{"-" + name, value})
			if value[0] == '0' && slices.Contains(leavesOut, name) {
				if err != nil {
					t.Errorf("-%s %s leaves something out, and is refused: %v", name, value, err)
				}
				continue
			}
			if err == nil || !strings.HasPrefix(err.Error(), "-"+name) {
				t.Errorf("-%s %s: %v", name, value, err)
			}
		}
	}
	var usage strings.Builder
	_, _ = parseTo(&usage, []string{"-h"})
	for _, name := range leavesOut {
		_, text, _ := strings.Cut(usage.String(), "\n  -"+name+" ")
		if text, _, _ = strings.Cut(text, "\n  -"); !regexp.MustCompile("; 0 leaves (it|them) out").MatchString(text) {
			t.Errorf("-h does not say that -%s 0 leaves it out: %s", name, text)
		}
	}
}

func TestATestOfTheBenchmarkDoesNotWriteThePage(t *testing.T) {
	for _, part := range []string{"-quick", "-quick=true", "-sizes=100", "-sizes=100,1000,2000", "-subjects=kube-ipvs"} {
		if _, err := parseTo(io.Discard, []string{"-write-docs", part}); err == nil || !strings.Contains(err.Error(), "-write-docs") {
			t.Errorf("%s with -write-docs: %v", part, err)
		}
	}
	for _, args := range [][]string{{"-write-docs"}, {"-write-docs", "-sizes=100,500,1000,2700", "-seed=2"}} {
		if o, err := parseTo(io.Discard, args); err != nil || !o.writeDocs {
			t.Errorf("%q: %v, %v", args, o.writeDocs, err)
		}
	}
}

func TestAWrongCommandLineIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-sizes", "1000,100"},
		{"-sizes", "many"},
		{"-sizes", "5000"},
		{"-subjects", "cilium"},
		{"-floors", "5000"},
		{"-floors", "x"},
		{"word"},
		{"-endpoints", "0"},
		{"-sizes", "0"},
		{"-sizes", "-5,3"},
		{"-sizes", "1", "-burst", "100000"},
	} {
		if _, err := parseTo(io.Discard, args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	if _, err := parseTo(io.Discard, []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
