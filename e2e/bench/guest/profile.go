package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// profiling is the flag that makes a program answer /debug/pprof beside its metrics.
const profiling = "--profiling"

// profiled is how long a profile takes at least: what it is of may end sooner.
const profiled = 15 * time.Second

// profile begins to take a CPU profile of the program, if the job asks for profiles, as soon as it answers. What it returns waits for the
// end, and keeps it as SUBJECT-SIZE-MEASURE.pprof; a program that was not profiled has said nothing, which is no reason to stop.
func (s *session) profile(ctx context.Context, m result.Measure) (wait func()) {
	if !s.job.Profiles {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.subject.Metrics, int(profiled.Seconds()))
		path := filepath.Join(lab.OutDir, profileName(s.subject.Name, s.size, m))
		if err := keepProfile(ctx, asks(s.network.Node1, 2*profiled), url, path, profiled); err != nil {
			s.say("no profile of %s: %v", m, err)
		}
	}()
	return func() { <-done }
}

func profileName(subject string, size int, m result.Measure) string {
	return fmt.Sprintf("%s-%d-%s.pprof", strings.ReplaceAll(subject, "/", "-"), size, m)
}

// keepProfile writes a profile to a file. The program is asked until it answers, for as long as patience lasts; the error is the last one.
func keepProfile(ctx context.Context, get ask, url, path string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		text, err := get(ctx, url)
		if err == nil {
			return os.WriteFile(path, []byte(text), 0o600)
		}
		if time.Now().After(deadline) || pause(ctx, lookForPass) != nil {
			return err
		}
	}
}
