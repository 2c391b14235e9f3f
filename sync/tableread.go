package sync

import (
	"context"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// mostSpoilt is how often our nftables table is read in vain, because we wrote it meanwhile, before changes wait for a read.
const mostSpoilt = 3

// writtenFilter counts what we write, so that it is known of a read whether it is one moment.
type writtenFilter struct {
	Filter
	writes int
}

func (f *writtenFilter) Apply(ctx context.Context, c filter.Change) error {
	f.writes++
	return f.Filter.Apply(ctx, c)
}

func (f *writtenFilter) Replace(ctx context.Context, rules filter.Rules) error {
	f.writes++
	return f.Filter.Replace(ctx, rules)
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

// asWritten reports whether our table has what we wrote, and nothing else.
func (r *Reconciler) asWritten(found filter.State) bool {
	return found.Intact && found.Rules.Equal(r.rules) && len(found.Stray) == 0
}

// answerRead does what the last answer asks for: it puts the table right in one write (until then clients are not masqueraded),
// or reads again what was no moment of its own.
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
		p.drift++
		r.logForeignWriter()
		l.err = r.Filter.Replace(ctx, r.rules)
		p.transaction(l.err)
	}
	switch {
	case l.err != nil:
		p.fail(l.err)
		r.nextLook = time.Now().Add(auditRetry)
	case l.again:
		r.readTable(ctx)
	case a.writes == r.written.writes:
		r.generation = a.generation
	}
}
