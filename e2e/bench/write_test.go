package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

// Whoever writes the page is told which goals it says nothing about, though they were not reached.
func TestGoalsThatNobodyExplainsAreNamed(t *testing.T) {
	held := func(subject string, size float64) result.Sample {
		return result.Sample{Subject: subject, Measure: result.Memory, Size: 2700, Unit: result.Bytes, Values: []float64{size}}
	}
	for _, c := range []struct {
		ours      float64
		writeDocs bool
		warned    bool
	}{{2, true, true}, {2, false, false}, {0.1, true, false}} {
		var progress strings.Builder
		dir := t.TempDir()
		b := &bench{Experiment: &experiment.Experiment{Plan: experiment.Plan{Progress: &progress}}, options: options{
			out: filepath.Join(dir, "out"), docs: filepath.Join(dir, "docs", "performance.md"), writeDocs: c.writeDocs,
		}}
		run := result.Run{Samples: []result.Sample{held(result.KubeIPVS, c.ours), held(result.KubeProxyIPVS+"/1s", 1)}}
		if err := b.write(run); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(progress.String(), "the goal memory was not reached"); got != c.warned {
			t.Errorf("%+v: %s", c, progress.String())
		}
	}
}
