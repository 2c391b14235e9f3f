package sync

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	stdsync "sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Status is what the agent says of itself after a pass. It is a copy: nobody else changes it.
type Status struct {
	// Synced is when a pass last ended with nothing failing but single frontends, as long as others are served; zero if
	// none has. One Service that the kernel refuses does not make a node unhealthy.
	Synced time.Time
	// Audited is when an audit last ended that read back all of ours; zero if none has.
	Audited time.Time
	// FailingSince is when the first of an unbroken row of other passes ended; zero if the last one was fine.
	FailingSince time.Time
	// Err is what failed in the last pass, or before and was not tried again yet. Frontends that fail are among the
	// Problems of their Services too.
	Err error
	// Starved: part of the input could not be read, and what could be read asks for nothing on this node.
	Starved bool
	// Ineligible says why load balancers should send this node nothing new; empty if they may. It is known from the
	// beginning of a pass.
	Ineligible string
	// Addresses are those that serve.
	Addresses []netip.Addr
	// Frontends, RealServers and Leaving count what the kernel has of ours; Leaving are the draining real servers.
	Frontends, RealServers, Leaving int
	// NoLocal counts the Service ports with policy Local that have endpoints, but none on this node.
	NoLocal int
	// Foreign are virtual servers on node ports of this node that are not ours.
	Foreign []frontend.Key
	// Problems are those of the sources, then by Service.
	Problems []Problem
}

// Counters only grow.
type Counters struct {
	Passes, FailedPasses uint64
	// Operations on the IPVS table that the kernel acknowledged, and that it refused.
	Done, Refused map[ipvs.Verb]uint64
	// Transactions of nftables, and those that failed.
	Transactions, FailedTransactions uint64
	// Drift is how many differences an audit found and repaired.
	Drift uint64
	// Busy is the time spent in passes.
	Busy time.Duration
}

// statusBoard is where other goroutines read what the last pass left.
type statusBoard struct {
	mu       stdsync.Mutex
	awaited  string    // what the node lacks without which there is no loop; empty if there is one
	started  time.Time // of the pass under way; zero between passes
	status   Status    // without Problems
	source   []Problem
	problems map[ServiceID][]Problem
	stuck    []Problem // of frontends that fail
	counters Counters
}

// Status is that of the last pass.
func (r *Reconciler) Status() Status {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	s := r.board.status
	s.Addresses, s.Foreign, s.Problems = slices.Clone(s.Addresses), slices.Clone(s.Foreign), slices.Clone(r.board.source)
	for _, id := range slices.SortedFunc(maps.Keys(r.board.problems), ServiceID.Compare) {
		s.Problems = append(s.Problems, r.board.problems[id]...)
	}
	s.Problems = append(s.Problems, r.board.stuck...)
	return s
}

// begin notes that a pass is under way.
func (b *statusBoard) begin(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = now
}

// setIneligible notes what the Node object says: load balancers should hear it at once, however long the pass takes.
func (b *statusBoard) setIneligible(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Ineligible = why
}

// Counters are those up to the last pass.
func (r *Reconciler) Counters() Counters {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	c := r.board.counters
	c.Done, c.Refused = maps.Clone(c.Done), maps.Clone(c.Refused)
	return c
}

// report publishes what a pass did, and says it in one line if it changed anything or failed.
func (r *Reconciler) report(start time.Time, p *passReport) {
	now := time.Now()
	err := p.err()
	r.board.mu.Lock()
	r.board.started = time.Time{}
	s, before := &r.board.status, r.board.status
	s.Err = err
	if err == nil && (len(r.retry) > 0 || !r.audited || r.tableFails() || r.pods.retry.err != nil || r.absent.err != nil || r.untuned != nil) {
		s.Err = before.Err // what failed has not been tried again yet
	}
	switch {
	case len(p.errs) == 0 && r.audited && !r.tableFails() && !r.nothingWorks() && r.untuned == nil:
		s.Synced, s.FailingSince = now, time.Time{}
	case s.FailingSince.IsZero():
		s.FailingSince = now
	}
	s.Audited = r.round.ended
	s.Starved = r.partial && len(r.state.want) == 0
	s.Addresses = r.state.Addresses()
	s.Frontends, s.RealServers, s.Leaving = r.count()
	s.NoLocal = r.state.NoLocal()
	s.Foreign = slices.Clone(r.foreign)
	fresh, solved := r.board.note(r.state)
	r.board.stuck = stuck(r.state, r.retry)
	r.board.counters.count(now.Sub(start), p)
	after := *s
	r.board.mu.Unlock()

	r.histograms.observe(now.Sub(start), p)
	r.logChanges(before, after, fresh, solved)
	r.announce(fresh)
	if p.changed() {
		r.log.Info("Synced", "frontends", after.Frontends, "realServers", after.RealServers, "draining", after.Leaving,
			"operations", counts(p.done), "transactions", p.transactions, "drift", p.drift, "staleFlows", p.flows, "took", now.Sub(start).Round(100*time.Microsecond))
	}
	if err != nil {
		r.log.Error(err, "Part of it failed and will be tried again")
	}
}

// nothingWorks reports that every frontend fails that is wanted: then it is not the fault of a Service. Those that are to go may fail as
// well, in any number.
func (r *Reconciler) nothingWorks() bool {
	failing := 0
	for key := range r.retry {
		if _, wanted := r.state.Want(key); wanted {
			failing++
		}
	}
	return failing > 0 && failing == len(r.state.want)
}

// stuck are the problems of the frontends that fail, sorted.
func stuck(s *State, retry map[frontend.Key]backoff) []Problem {
	problems := make([]Problem, 0, len(retry))
	for key, b := range retry {
		object := "frontend " + key.String()
		if f, wanted := s.Want(key); wanted {
			object = "Service " + f.Service.String()
		}
		problems = append(problems, b.problem(object, key))
	}
	slices.SortFunc(problems, compareProblems)
	return problems
}

func (b backoff) problem(object string, key frontend.Key) Problem {
	return Problem{
		Object: object, Reason: KernelRefused,
		Message: fmt.Sprintf("%s is not as it should be and will be tried again: %v", key, b.err),
	}
}

// logChanges says what became a problem, or served, since the last pass.
func (r *Reconciler) logChanges(before, after Status, fresh []freshProblem, solved []Problem) {
	if !slices.Equal(before.Addresses, after.Addresses) {
		r.log.Info("Serving addresses changed", "addresses", after.Addresses)
	}
	for _, p := range fresh {
		r.log.Info("Problem", "object", p.Object, "reason", p.Reason, "message", p.Message)
	}
	for _, p := range solved {
		r.log.Info("Problem solved", "object", p.Object, "message", p.Message)
	}
	known := newKeySet(before.Foreign...)
	for _, key := range after.Foreign {
		if !known.has(key) {
			r.log.Info("A virtual server that is not ours keeps a node port open", "frontend", key)
		}
	}
}

// note takes over the problems that changed and returns those that are new and those that are no more. The caller holds
// the mutex.
func (b *statusBoard) note(state *State) (fresh []freshProblem, solved []Problem) {
	add := func(id ServiceID, before, now []Problem) {
		for _, p := range missing(before, now) {
			fresh = append(fresh, freshProblem{p, id})
		}
		solved = append(solved, missing(now, before)...)
	}
	general := state.general()
	add(ServiceID{}, b.source, general)
	b.source = general
	if b.problems == nil {
		b.problems = map[ServiceID][]Problem{}
	}
	for id, now := range state.News() {
		add(id, b.problems[id], now)
		if len(now) == 0 {
			delete(b.problems, id)
			continue
		}
		b.problems[id] = now
	}
	return fresh, solved
}

// missing are those of all that some does not have.
func missing(some, all []Problem) []Problem {
	has := make(map[Problem]struct{}, len(some)) // a Service may have a problem with each of thousands of ports
	for _, p := range some {
		has[p] = struct{}{}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p Problem) bool {
		_, had := has[p]
		return had
	})
}

func (r *Reconciler) count() (frontends, reals, leaving int) {
	for _, d := range r.leaving {
		leaving += len(d)
	}
	return len(r.have.table), r.have.reals, leaving
}

func (c *Counters) count(took time.Duration, p *passReport) {
	if c.Done == nil {
		c.Done, c.Refused = map[ipvs.Verb]uint64{}, map[ipvs.Verb]uint64{}
	}
	c.Passes++
	if len(p.errs)+len(p.frontendErrs) > 0 {
		c.FailedPasses++
	}
	for verb, n := range p.done {
		c.Done[verb] += uint64(n)
	}
	for verb, n := range p.refused {
		c.Refused[verb] += uint64(n)
	}
	c.Transactions += uint64(p.transactions)
	c.FailedTransactions += uint64(p.failedTransactions)
	c.Drift += uint64(p.drift)
	c.Busy += took
}
