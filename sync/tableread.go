package sync

import (
	"context"
	"errors"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// mostSpoilt is how often our nftables table is read in vain, because we wrote it meanwhile, before changes wait for a read.
const mostSpoilt = 3

// mendShare is how much longer the loop does other things than it tries in vain to put our table right, up to lastRetry.
const mendShare = 10

// writtenFilter counts what we write, so that it is known of a read whether it is one moment. Where a write took all the time that it
// may, a minute, the others of the pass fail as it did: what else changes would wait for each of them.
type writtenFilter struct {
	Filter
	writes int
	silent error // of the pass under way
}

func (f *writtenFilter) Apply(ctx context.Context, c filter.Change) error {
	return f.write(func() error { return f.Filter.Apply(ctx, c) })
}

func (f *writtenFilter) Replace(ctx context.Context, rules filter.Rules) error {
	return f.write(func() error { return f.Filter.Replace(ctx, rules) })
}

func (f *writtenFilter) write(do func() error) error {
	if f.silent != nil {
		return f.silent
	}
	f.writes++
	err := do()
	if errors.Is(err, context.DeadlineExceeded) {
		f.silent = err
	}
	return err
}

// tableRead is a read of our nftables table beside the loop: that of thousands of frontends takes some ten milliseconds on a node
// and more than a second in an emulated guest, and no change waits for it.
type tableRead struct {
	// answers has the one of the read that is under way; nil if none is.
	answers chan tableAnswer
	// answer is one that leaves something to do.
	answer *tableAnswer
	again  bool // somebody may have written since it began
	spoilt int  // reads in a row during which we wrote ourselves
	err    error
	// mending is the next try to put the table right; zero if the last one went well.
	mending backoff
}

type tableAnswer struct {
	state filter.State
	err   error
	// What was so when the read began.
	generation uint32
	writes     int
}

// readTable begins to read our table, unless nobody has written to nftables since it was read.
func (r *Reconciler) readTable(ctx context.Context) {
	l := &r.reading
	r.nextLook = time.Time{} // this is it
	if l.answers != nil {
		l.again = true
		return
	}
	begin := tableAnswer{generation: r.rulesetGeneration(), writes: r.written.writes}
	if r.unmade || l.err == nil && begin.generation != 0 && begin.generation == r.generation {
		return
	}
	r.generation, l.again = 0, false
	l.answers = make(chan tableAnswer, 1)
	r.beside.Go(func() {
		begin.state, begin.err = r.Filter.Read(ctx)
		l.answers <- begin
	})
}

// heard takes an answer, and reports whether that was all: the table is as it should be, as it was before.
func (r *Reconciler) heard(a tableAnswer) bool {
	l := &r.reading
	l.answers = nil
	if a.err != nil || l.err != nil || l.again || a.writes != r.written.writes || !r.asWritten(a.state) {
		l.answer = &a
		return false
	}
	l.spoilt, r.generation = 0, a.generation
	return true
}

// tableFails reports that our table could not be read, put right or made, and that this has not gone well since.
func (r *Reconciler) tableFails() bool { return r.reading.err != nil || r.making.err != nil }

// asWritten reports whether our table has what we wrote, and nothing else.
func (r *Reconciler) asWritten(found filter.State) bool {
	return found.Intact && found.Rules.Equal(r.rules) && len(found.Stray) == 0
}

// mendTable puts our table right in one write: until then clients are not masqueraded. After a failure changes have the loop for a
// while.
func (r *Reconciler) mendTable(ctx context.Context, p *passReport) error {
	if l := &r.reading; time.Now().Before(l.mending.at) {
		return l.mending.err
	}
	if r.reading.mending.err == nil { // else it is told already why it is not right
		p.drift++
		r.logForeignWriter()
	}
	return r.replaceTable(ctx, p)
}

// replaceTable writes all of our table. If that fails the next try has to wait, the longer the longer this one took: a run of nft that
// hangs takes a minute.
func (r *Reconciler) replaceTable(ctx context.Context, p *passReport) error {
	l, begin := &r.reading, time.Now()
	err := r.Filter.Replace(ctx, r.rules)
	p.transaction(err)
	if l.mending = (backoff{}); err != nil {
		end := time.Now()
		l.mending = backoff{at: end.Add(min(max(auditRetry, mendShare*end.Sub(begin)), lastRetry)), err: err}
	}
	return err
}

// answerRead does what the last answer asks for: it puts the table right, or reads again what was no moment of its own.
func (r *Reconciler) answerRead(ctx context.Context, p *passReport) {
	l := &r.reading
	if l.answer == nil {
		return
	}
	a := *l.answer
	l.answer = nil
	if a.err == nil && a.writes != r.written.writes {
		if l.spoilt++; l.spoilt < mostSpoilt {
			r.readTable(ctx)
			return
		}
		a.generation, a.writes = r.rulesetGeneration(), r.written.writes
		a.state, a.err = r.Filter.Read(ctx)
	}
	l.spoilt = 0
	if l.err = a.err; l.err == nil && !r.asWritten(a.state) {
		l.err = r.mendTable(ctx, p)
	}
	switch {
	case l.err != nil:
		p.fail(l.err)
		if r.nextLook = time.Now().Add(auditRetry); r.nextLook.Before(l.mending.at) {
			r.nextLook = l.mending.at
		}
	case l.again:
		r.readTable(ctx)
	case a.writes == r.written.writes:
		r.generation = a.generation
	}
}
