package main

import (
	"errors"
	"flag"
	"io"
	"reflect"
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
