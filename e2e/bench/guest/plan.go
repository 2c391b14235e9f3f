package main

import (
	"time"

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
	floor   bool // the changes, and nothing else
	apart   bool // the restart is timed without counters, since it takes so little
	// rest is how long the program may take to come to rest after its start; 0 is what the job says.
	rest time.Duration
}

// again reports whether the program is started a second time: with counters, which cost it time, or to see how long that takes.
func (p plan) again() bool { return p.restart || p.counted > 0 || p.steady && !p.both }

// newPlan leaves out what would take longer than anybody waits: kube-proxy in IPVS mode needs seconds to minutes for a change here. It also
// leaves out what tells nothing: what does not depend on the sync period is measured with the one that an operator would set, where there
// are most Services, and a few changes with it are made there.
func newPlan(j job.Job, s job.Subject, size int) plan {
	smallest, largest, burst := size == j.Plan.Sizes[0], size == j.Plan.Largest(), j.Burst > 0
	counted := j.Counted
	if j.Changes == 0 {
		counted = 0 // there is no sample for them
	}
	switch {
	case s.Floor:
		return plan{skip: !largest || j.Changes == 0, changes: j.Changes, floor: true}
	case s.Slow:
		return slowPlan(j, s, smallest, largest)
	case s.Name == result.KubeIPVS:
		return plan{changes: j.Changes, counted: counted, burst: burst && (smallest || largest), steady: largest && j.Steady > 0, restart: largest, apart: largest}
	case !s.Operator:
		return plan{changes: j.ProxyChanges, both: true}
	case largest:
		return plan{changes: min(6, j.ProxyChanges), burst: burst, steady: j.ProxySteady > 0, restart: true}
	default:
		return plan{skip: true}
	}
}

// restless is for a program that does not come to rest as long as anybody waits: its passes take longer than the time between them. At
// 1,000 Services kube-proxy in IPVS mode had not after a minute and a half, and where it is waited for so briefly it never had after 10 s.
const restless = 3 * time.Second

// slowPlan has the burst and the minute where a pass is over before the next one begins.
func slowPlan(j job.Job, s job.Subject, smallest, largest bool) plan {
	switch {
	case smallest && s.Operator:
		return plan{changes: min(3, j.ProxyChanges), both: true, burst: j.Burst > 0, steady: j.ProxySteady > 0}
	case smallest:
		return plan{changes: min(1, j.ProxyChanges), both: true, rest: restless}
	case !s.Operator:
		return plan{skip: true}
	case largest:
		return plan{rest: restless} // the cold start and the memory
	default:
		return plan{changes: min(1, j.ProxyChanges), both: true, rest: restless}
	}
}
