// Package job is what the host asks of the guest, and what the guest answers.
package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/trend"
)

// Where things are in the guest.
const (
	Path       = "/lab/chaos.json"
	Admin      = "/lab/admin.kubeconfig"
	Kubeconfig = "/run/chaos.kubeconfig" // of the agent: it leads to what can be cut
	Program    = "chaos-guest"
)

// Faults that can be put in, to see the judge find them.
const (
	FaultReset  = "reset"  // one new connection in 200 is refused by a rule of nftables
	FaultDelete = "delete" // each 3 s a virtual server is deleted by hand
	FaultStray  = "stray"  // pods that have left are put back by hand
)

// Faults are their names.
func Faults() []string { return []string{FaultReset, FaultDelete, FaultStray} }

// Job is one run.
type Job struct {
	Seed     uint64
	Duration time.Duration
	// Soak is churn without kills and cuts; otherwise it is chaos.
	Soak bool
	// Deployments have two pods each, one on either node, and Each Services.
	Deployments, Each int
	// Workers ask with TCP and with UDP, Flows are sockets of UDP, and Connections live long.
	Workers, Flows, Connections int
	Pause                       time.Duration // of each after a request
	// Propagation is how long the agent has for a change while nothing is in its way.
	Propagation time.Duration
	// PreStop is how long a pod that terminates goes on to serve.
	PreStop time.Duration
	// Rate is how many changes a minute a soak makes, to Churn Services whose endpoints nobody asks.
	Rate, Churn int
	// Interval is between two samples of a soak.
	Interval time.Duration
	Fault    string
}

// Chaos is the default of chaos.
func Chaos() Job {
	return Job{
		Seed: 1, Duration: 10 * time.Minute, Deployments: 12, Each: 2, Workers: 3, Flows: 8, Connections: 24, Pause: 60 * time.Millisecond,
		Propagation: 5 * time.Second, PreStop: 12 * time.Second,
	}
}

// Soak is the default of a soak. In an emulated guest a run of nft takes more than half a second, and a change may wait for two passes: hence
// the propagation time, which is less than what pods have before they stop.
func Soak() Job {
	j := Chaos()
	j.Soak, j.Duration, j.Rate, j.Churn, j.Interval = true, time.Hour, 1000, 100, 10*time.Second
	j.Propagation = 10 * time.Second
	j.Deployments, j.Workers, j.Flows, j.Connections, j.Pause = 6, 1, 4, 8, 100*time.Millisecond
	return j
}

// podsOfNode is for how many rolls a node of the lab has addresses, those of the beginning left aside: chance may choose one node more often.
const podsOfNode = 180

// Roll is the least time between the beginnings of two rolls of a node's pod: no address is used twice.
func (j Job) Roll() time.Duration { return max(3*time.Second, j.Duration/podsOfNode/2) }

// Validate says what is wrong with it.
func (j Job) Validate() error {
	switch {
	case j.Duration < 10*time.Second || j.Duration > 6*time.Hour:
		return fmt.Errorf("a run takes 10 s to 6 h, not %v", j.Duration)
	case j.Deployments < 2 || j.Deployments > 25:
		return fmt.Errorf("2 to 25 deployments, not %d", j.Deployments)
	case j.Each < 1 || j.Each*j.Deployments > 100:
		return fmt.Errorf("1 to 100 Services in all, not %d", j.Each*j.Deployments)
	case j.Workers < 1 || j.Pause <= 0:
		return errors.New("without workers, or without a pause for each, nothing can be seen")
	case j.Propagation < 100*time.Millisecond:
		return fmt.Errorf("a propagation time of %v", j.Propagation)
	case j.Soak && (j.Rate < 1 || j.Churn < 2 || j.Churn > 1500 || j.Interval < time.Second):
		return errors.New("a soak needs a rate, 2 to 1500 Services to change, and an interval of at least 1 s")
	case j.Fault != "" && !slices.Contains(Faults(), j.Fault):
		return fmt.Errorf("there is no fault %q: there are %q", j.Fault, Faults())
	}
	return nil
}

// Check is one look at the node afterwards.
type Check struct {
	What    string
	Found   string // for people
	Problem string // "" if it is as it should be
}

// Result is what the guest says in the end.
type Result struct {
	Job     Job
	Took    time.Duration
	Verdict ledger.Verdict
	Checks  []Check
	// Agent
	Kills, Stops int
	Ready        []time.Duration // from the start of the process on
	Rewatch      []time.Duration // from the return of the source to the agent's watch
	Withheld     []int           // bytes between the agent and its source that each stall held back
	// Actions counts what was done by kind.
	Actions map[string]int
	// VirtualServers at the end.
	VirtualServers, RealServers int
	Samples                     []trend.Sample
	Trends                      []trend.Result
	// Changes that a soak made, and how long it took for them.
	Changes int
	Errors  []string // why the run itself went wrong
}

// Problems are all that was not as it should be.
func (r *Result) Problems() []string {
	problems := slices.Clone(r.Errors)
	if n := r.Verdict.Total; n > 0 {
		problems = append(problems, fmt.Sprintf("%d broken promises", n))
	}
	problems = append(problems, r.tooFew()...)
	for _, c := range r.Checks {
		if c.Problem != "" {
			problems = append(problems, c.What+": "+c.Problem)
		}
	}
	for _, t := range r.Trends {
		if t.Judged && !t.Flat {
			problems = append(problems, t.String())
		}
	}
	return problems
}

// tooFew are reasons why a run shows nothing, although nothing failed.
func (r *Result) tooFew() (reasons []string) {
	for _, p := range []struct {
		name string
		n    ledger.Requests
	}{{"TCP", r.Verdict.TCP}, {"UDP", r.Verdict.UDP}} {
		if n := p.n.Counted(); n < int(r.Job.Duration.Seconds()) || n < p.n.Sent/2 {
			reasons = append(reasons, fmt.Sprintf("only %d of %d requests of %s count: that shows nothing", n, p.n.Sent, p.name))
		}
	}
	if n, least := r.Verdict.Connections.Echoes, int(r.Job.Duration.Seconds()); r.Job.Connections > 0 && n < least {
		reasons = append(reasons, fmt.Sprintf("only %d answers on long-lived connections, not %d: that shows nothing", n, least))
	}
	// A soak begins to replace one after 25 s at most, and it stops PreStop later.
	if r.Job.Duration >= time.Minute && r.Verdict.Pods == 0 {
		reasons = append(reasons, "no pod has stopped: that shows nothing of those that go")
	}
	if !r.Job.Soak && r.Verdict.AgentAway.Times < int(r.Job.Duration/time.Minute) {
		reasons = append(reasons, fmt.Sprintf("the agent was away only %d times", r.Verdict.AgentAway.Times))
	}
	if n := len(r.Withheld); n > 0 && slices.Max(r.Withheld) == 0 {
		reasons = append(reasons, fmt.Sprintf("the API server stalled %d times and held nothing back: that shows nothing of stalls", n))
	}
	return reasons
}

// Found says by which broken promise a fault was found that was put in, "" if that was kept. What else is broken finds nothing.
func (r *Result) Found() string {
	v := &r.Verdict
	switch r.Job.Fault {
	case FaultReset:
		if n, all := v.TCP.Failed, v.TCP.Counted(); n > 0 && n >= all/fewestReset && n <= all/mostReset {
			return fmt.Sprintf("%d of %d requests of TCP failed", n, all)
		}
	case FaultDelete:
		if n := v.Missing; n > 0 {
			return fmt.Sprintf("%d requests of TCP failed after their virtual servers were deleted", n)
		}
	case FaultStray:
		if n := v.Stray; n > 0 {
			return fmt.Sprintf("%d requests came to pods that had left", n)
		}
	}
	return ""
}

// One connection in 200 is refused. Of the few hundred requests of a short run that may be one in 1,000, or in 50.
const fewestReset, mostReset = 1000, 50

// Read reads a job.
func Read(path string) (Job, error) {
	var j Job
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &j)
	}
	if err != nil {
		return j, fmt.Errorf("read job: %w", err)
	}
	return j, nil
}
