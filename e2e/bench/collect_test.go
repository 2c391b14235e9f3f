package main

import (
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

func TestSamplesAreTakenFromLinesHoweverTheyAreCut(t *testing.T) {
	var progress strings.Builder
	c := &collector{progress: &progress, run: &result.Run{}}
	out := `{"subject":"a","measure":"cold","values":[1.5]}` + "\n" + `{"subject":"b","measure":"burst"}` + "\n" + `{"subject":"c"}`
	for _, b := range []byte(out) {
		c.Output(0, lab.Stdout, []byte{b})
	}
	c.Output(0, lab.Stderr, []byte("how far it is\n"))
	c.flush()
	c.Exited(lab.Exit{})
	if len(c.errs) > 0 || len(c.run.Samples) != 3 || c.run.Samples[0].Values[0] != 1.5 || c.run.Samples[2].Subject != "c" {
		t.Errorf("samples %+v, errors %v", c.run.Samples, c.errs)
	}
	if progress.String() != "how far it is\n" {
		t.Errorf("progress %q", progress.String())
	}
}

func TestWhatIsNoSampleAndAnExitCodeAreErrors(t *testing.T) {
	for name, f := range map[string]func(*collector){
		"no sample": func(c *collector) { c.Output(0, lab.Stdout, []byte("panic\n")) },
		"cut off":   func(c *collector) { c.Output(0, lab.Stdout, []byte(`{"subject":`)); c.flush() },
		"exit code": func(c *collector) { c.Exited(lab.Exit{Code: 1}) },
		"no start":  func(c *collector) { c.Exited(lab.Exit{Code: 127, Error: "not found"}) },
	} {
		c := &collector{progress: &strings.Builder{}, run: &result.Run{}}
		f(c)
		if len(c.errs) != 1 {
			t.Errorf("%s: errors %v", name, c.errs)
		}
	}
}
