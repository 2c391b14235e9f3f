package sync

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

const (
	// refusalMemory is how long a scheduler that the kernel does not have is not asked for again.
	refusalMemory = 5 * time.Minute
	// rulesetPeriod is how soon our nftables table is looked at once somebody else wrote to it. What he writes meanwhile
	// is seen by the same look.
	rulesetPeriod = 200 * time.Millisecond

	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// backoff is the next try of something that failed.
type backoff struct {
	at   time.Time
	wait time.Duration
	err  error // what failed
}

// Run reconciles until ctx ends. It returns nil then, and leaves the kernel as it is: what is served goes on being
// served. Nothing is written before Services, EndpointSlices, the Node and the node's addresses were all read once.
func (r *Reconciler) Run(ctx context.Context) error {
	if err := r.awaitInput(ctx); err != nil {
		return nil //nolint:nilerr // ended before there was anything to do
	}
	for ctx.Err() == nil {
		r.pass(ctx)
		r.awaitWork(ctx)
	}
	r.beside.Wait()
	r.tendFlows(r.flows.next, &passReport{}) // what was put off would be forgotten
	return nil
}

// awaitInput returns when every input has been read once.
func (r *Reconciler) awaitInput(ctx context.Context) error {
	haveAddresses := func() bool { _, ok := r.Addresses.Addresses(); return ok }
	for !haveAddresses() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.Addresses.Changed():
		}
	}
	for {
		if u, ok := r.Source.Next(); ok {
			r.first = &u
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.Source.Changed():
		}
	}
}

// awaitWork returns when something changed or something is due. What arrives meanwhile is taken in by one pass.
func (r *Reconciler) awaitWork(ctx context.Context) {
	due := r.nextDue()
	if r.held(time.Now()) {
		until := r.nextSync
		if due.Before(until) {
			until = due
		}
		if came := r.await(ctx, until, nil); came || until.Equal(due) {
			return
		}
	}
	r.await(ctx, due, r.Source.Changed())
}

// await waits for work until some time; false if none came.
func (r *Reconciler) await(ctx context.Context, until time.Time, changed <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		switch r.event(ctx, timer.C, changed) {
		case settled:
		case work:
			return true
		case nothing:
			return false
		}
	}
}

// event is what ended the waiting.
type event int

const (
	nothing event = iota // but the time
	settled              // whatever it was, nothing is left to do
	work
)

// event waits for the next one.
func (r *Reconciler) event(ctx context.Context, due <-chan time.Time, changed <-chan struct{}) event {
	select {
	case <-ctx.Done():
	case answer := <-r.questions:
		answer()
		return settled
	case <-due:
		return nothing
	case answer := <-r.reading.answers:
		if r.heard(answer) {
			return settled
		}
	case <-changed:
	case <-r.Addresses.Changed():
		r.addressesChanged = true
	case <-r.Renewed:
		r.nextAudit = time.Now()
	case _, open := <-r.RulesetChanged:
		switch {
		case !open:
			r.RulesetChanged = nil
			if ctx.Err() == nil {
				r.log.Info("Nobody watches nftables any more: the audits notice what others change", "period", r.SyncPeriod)
			}
		case r.nextLook.IsZero():
			r.nextLook = time.Now().Add(rulesetPeriod)
		}
	}
	return work
}

// held reports that what the Source has waits for more of it.
func (r *Reconciler) held(now time.Time) bool { return now.Before(r.nextSync) }

// heed takes the notice of changes that the pass is about to take in, however it began.
func (r *Reconciler) heed(now time.Time) {
	if !r.held(now) {
		select {
		case <-r.Source.Changed():
		default:
		}
	}
	select {
	case <-r.Addresses.Changed():
		r.addressesChanged = true
	default:
	}
}

// nextDue is when something has to be done even if nothing changes.
func (r *Reconciler) nextDue() time.Time {
	due := r.nextAudit
	if !r.adopted {
		return due // nothing is done before the first audit
	}
	sooner := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	if !r.round.over() {
		sooner(r.round.next)
	}
	if len(r.leaving) > 0 {
		sooner(r.poll.next)
	}
	for _, at := range r.nextRamps() {
		sooner(at)
	}
	if !r.unmade && r.podsDiffer() { // else they come with the table
		sooner(r.pods.retry.at)
	}
	if !r.unmade && r.absentDiffers() {
		sooner(r.absent.at)
	}
	if !r.nextLook.IsZero() {
		sooner(r.nextLook)
	}
	if r.flowsDue() {
		sooner(r.flows.next)
	}
	for _, b := range r.retry {
		sooner(b.at)
	}
	if r.HealthChecks != nil {
		sooner(r.listeners.next)
	}
	for _, t := range r.grace {
		sooner(t)
	}
	for _, t := range r.refused {
		sooner(t)
	}
	return due
}

// postpone plans another try for a frontend that failed, each time later. A change that made it be tried before its time neither brings
// the planned try forward nor puts it off: so none waits for longer than it has failed, however often it changes meanwhile.
func (r *Reconciler) postpone(key frontend.Key, err error) {
	b, now := r.retry[key], time.Now()
	if now.Before(b.at) {
		b.err = err
		r.retry[key] = b
		return
	}
	r.retry[key] = b.after(now, err)
}

// after is the next try once the one before has failed again.
func (b backoff) after(now time.Time, err error) backoff {
	wait := min(max(2*b.wait, firstRetry), lastRetry)
	return backoff{at: now.Add(wait), wait: wait, err: err}
}

func (r *Reconciler) dueRetries(now time.Time) []frontend.Key {
	var due []frontend.Key
	for key, b := range r.retry {
		if !now.Before(b.at) {
			due = append(due, key)
		}
	}
	return due
}

// forgetRefusals asks after a while whether the kernel has a refused scheduler by now: its module may have been
// installed. One question spares all frontends that want it another refusal.
func (r *Reconciler) forgetRefusals(ctx context.Context, now time.Time) {
	before := len(r.refused)
	for name, until := range r.refused {
		switch {
		case now.Before(until):
		case r.Kernel.ProbeScheduler(ctx, name) == nil:
			delete(r.refused, name)
		default:
			r.refused[name] = now.Add(refusalMemory)
		}
	}
	if len(r.refused) != before {
		r.state.SetRefused(slices.Collect(maps.Keys(r.refused)))
	}
}
