package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestWhatIsCountedComesBetweenTwoAuditsAndTheMinuteAfterThem(t *testing.T) {
	j := job.Default()
	agent := job.Subjects()[0]
	for _, c := range []struct {
		size int
		want []result.Measure
	}{
		{100, []result.Measure{result.Arrival, result.Burst, result.MemoryPeak, result.Restart, result.Arrival}},
		{2700, []result.Measure{result.Arrival, result.Burst, result.MemoryPeak, result.Restart, result.Arrival, result.Steady}},
	} {
		var got []result.Measure
		for _, p := range (&session{subject: agent, plan: newPlan(j, agent, c.size)}).parts() {
			got = append(got, p.measure)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("at %d it is %v, want %v", c.size, got, c.want)
		}
	}
}

// readsOf is how many of the reads of audits fall between two moments: the first of them comes at once, later ones are spread over 24 s.
func readsOf(first, from, to time.Time) (audits float64) {
	if !first.Before(from) && first.Before(to) {
		audits++
	}
	const spread = 24 * time.Second
	for at := first.Add(job.SyncPeriod); at.Before(to); at = at.Add(job.SyncPeriod) {
		begin, end := later(at, from), at.Add(spread)
		if to.Before(end) {
			end = to
		}
		audits += max(0, end.Sub(begin)).Seconds() / spread.Seconds()
	}
	return audits
}

func TestAMinuteHasTheReadsOfTwoAudits(t *testing.T) {
	start := time.Now()
	for _, passed := range []time.Duration{time.Second, 10 * time.Second, 40 * time.Second} {
		for _, first := range []time.Duration{0, passed / 2, passed} { // within the first pass
			for _, rested := range []time.Duration{0, 4 * time.Second, 13 * time.Second, 90 * time.Second} {
				s := &session{subject: job.Subject{Name: result.KubeIPVS}, audit: firstRegular(start, start.Add(passed))}
				now := start.Add(passed + rested)
				begin := now.Add(s.untilSteady(now, time.Minute))
				if got := readsOf(start.Add(first), begin, begin.Add(time.Minute)); got < 1.99 || got > 2.01 {
					t.Errorf("passed after %v with an audit after %v, at rest %v later: %.2f audits", passed, first, rested, got)
				}
				if at := start.Add(first).Add(job.SyncPeriod); at.Before(s.audit.from) || at.After(s.audit.to) {
					t.Errorf("passed after %v: an audit at %v is not within %v", passed, at, s.audit)
				}
				if begin.Sub(now) > job.SyncPeriod+auditDelay {
					t.Errorf("passed after %v, at rest %v later: it waits for %v", passed, rested, begin.Sub(now))
				}
			}
		}
	}
}

func TestOnlyAWholeMinuteOfTheAgentIsWaitedFor(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name, subject string
		watch         time.Duration
		want          time.Duration
	}{
		{"a minute", result.KubeIPVS, time.Minute, 36 * time.Second},
		{"a glance", result.KubeIPVS, 10 * time.Second, 0},
		{"another's", result.KubeProxyNft + "/1s", time.Minute, 0},
	} {
		s := &session{subject: job.Subject{Name: c.subject}, audit: firstRegular(now, now.Add(5*time.Second))}
		if got := s.untilSteady(now, c.watch); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCountedChangesSayWhetherAnAuditMayBeAmongThem(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		name, subject string
		until         time.Duration
		want          bool
	}{
		{"before the next audit", result.KubeIPVS, job.SyncPeriod - time.Second, false},
		{"later", result.KubeIPVS, job.SyncPeriod, true},
		{"of one without audits", result.KubeProxyNft + "/0s", job.SyncPeriod, false},
	} {
		s := &session{subject: job.Subject{Name: c.subject}, audit: firstRegular(start, start.Add(9*time.Second))}
		note := s.countedNote(4, start.Add(c.until))
		if got := strings.Contains(note, "an audit may have been among them"); got != c.want || !strings.Contains(note, "in 4 changes") {
			t.Errorf("%s: %q", c.name, note)
		}
	}
}
