package main

import (
	"context"
	"errors"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestWhatNobodyAsksForIsNotMeasuredBesideTheGuest(t *testing.T) {
	others, never := job.Quick(), job.Quick()
	others.Subjects, never.Steady = []string{result.KubeProxyNft + "/1s"}, 0
	for name, j := range map[string]job.Job{"others alone": others, "no time to watch": never} {
		run := &result.Run{}
		m := (&bench{options: options{job: j}}).startBeside(t.Context())
		if err := m.add(run); err != nil || len(run.Samples) > 0 {
			t.Errorf("%s: %v, %v", name, run.Samples, err)
		}
	}
}

func TestWhatFailsBesideTheGuestIsASampleThatSaysWhy(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("it was enough")
	cancel(why)
	run := &result.Run{}
	err := (&bench{options: options{job: job.Default()}}).startBeside(ctx).add(run)
	if !errors.Is(err, why) || len(run.Samples) != 1 {
		t.Fatalf("%v, %v", run.Samples, err)
	}
	if s := run.Samples[0]; s.Measure != result.SteadyNative || s.Size != 2700 || len(s.Values) > 0 || s.Note != "failed: "+err.Error() {
		t.Errorf("the sample is %+v", s)
	}
}
