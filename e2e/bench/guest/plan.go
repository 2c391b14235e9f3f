package main

import (
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// plan is what is measured of one subject at one size.
type plan struct {
	skip    bool
	changes int  // one after the other, timed
	counted int  // and more, counted
	both    bool // the timed changes are counted too, since each takes so long
	burst   bool
	steady  bool
	restart bool
}

// newPlan leaves out what would take kube-proxy in IPVS mode, whose changes take seconds to minutes here, longer than anybody waits; and
// what does not depend on the sync period is measured once.
func newPlan(j job.Job, s job.Subject, size int) plan {
	sizes := j.Plan.Sizes
	smallest, largest := size == sizes[0], size == j.Plan.Largest()
	if !s.Slow {
		p := plan{changes: j.ProxyChanges, counted: j.Counted, burst: smallest || largest, steady: s.Operator && largest, restart: s.Operator}
		if s.Name == result.KubeIPVS {
			p.changes = j.Changes
		}
		return p
	}
	switch {
	case smallest:
		return plan{changes: min(3, j.ProxyChanges), both: true, burst: s.Operator, restart: s.Operator, steady: s.Operator && len(sizes) < 3}
	case !s.Operator:
		return plan{skip: true}
	case largest:
		return plan{} // the cold start and the memory
	default:
		return plan{changes: 1, both: true, steady: true}
	}
}
