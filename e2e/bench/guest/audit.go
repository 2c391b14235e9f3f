package main

import (
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// window is when something begins: at one moment of it.
type window struct{ from, to time.Time }

// auditDelay is how much later than it is due an audit may begin.
const auditDelay = time.Second

// firstRegular is when kube-ipvs begins the first audit that spreads its reads over most of a period. That comes a period after the one within
// the first pass, which reads everything at once.
//
//	start ── audit ── passed                         ... from ── audit ── to ...
//	           └───────────────── SyncPeriod ─────────────────────┘
func firstRegular(start, passed time.Time) window {
	return window{from: start.Add(job.SyncPeriod), to: passed.Add(job.SyncPeriod + auditDelay)}
}

// untilSteady is how long to wait before kube-ipvs does what it does for ever: from its first regular audit on, each period has the reads of
// a whole one, wherever it begins. What is watched for less than a period tells nothing about audits, and is not waited for.
func (s *session) untilSteady(now time.Time, watch time.Duration) time.Duration {
	if s.subject.Name != result.KubeIPVS || watch < job.SyncPeriod {
		return 0
	}
	return max(0, s.audit.to.Sub(now))
}
