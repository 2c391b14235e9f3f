package ipvs

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Result is what became of a plan.
type Result struct {
	// Done has the operations that the kernel acknowledged, as they were done, and may be part of the plan itself: an AddReal that met an existing server
	// stands here as the SetReal that took its place. Committed to the table before, they give the kernel's table, but
	// for the virtual servers in Uncertain.
	Done Plan
	// Failed has the operations that were refused for a reason that is not expected, in the order of the plan.
	Failed []*OpError
	// Uncertain has the virtual servers that are not as the plan assumed, or whose state is unknown, sorted: read them
	// again.
	Uncertain []frontend.Key
}

// And is the result of two plans, one carried out after the other.
func (r Result) And(next Result) Result {
	if len(next.Done)+len(next.Failed)+len(next.Uncertain) == 0 {
		return r
	}
	uncertain := slices.Concat(r.Uncertain, next.Uncertain)
	slices.SortFunc(uncertain, frontend.Key.Compare)
	return Result{
		Done:      slices.Concat(r.Done, next.Done),
		Failed:    slices.Concat(r.Failed, next.Failed),
		Uncertain: slices.Compact(uncertain),
	}
}

// Apply carries out a plan and is the one place that knows which errors are expected:
//
//	add            EEXIST            somebody was there first: it is set instead, and uncertain
//	set            IsGone            it is gone: nothing done, uncertain
//	add real       ESRCH             its virtual server is gone: nothing done, uncertain
//	delete         IsGone            it is gone already: done; uncertain if a real server's virtual server is gone too
//	any            ErrUnknown        uncertain
//
// Everything else is a failure, and the virtual server is uncertain too. An operation that fails does not stop the
// others, but those on the real servers of a virtual server that could not be made are not sent: they are neither done
// nor failed. The same goes for what was not sent when ctx ended.
//
// The plan is sent in few calls of Handle.Do, each of them as long as possible: what follows an add waits for its
// answer, because an add may have to become a set first. A set that ends service by weight 0 waits for the end of the
// plan. So the promise of Diff holds even if the table it was given lacked entries: no virtual server that can serve
// before and after stands without a real server in between. A plan of Diff takes three calls when all goes well.
func Apply(ctx context.Context, h Handle, plan Plan) Result {
	a := applier{handle: h, plan: plan}
	for len(plan) > 0 && ctx.Err() == nil {
		n := plan.nextCall()
		a.send(ctx, plan[:n])
		plan = plan[n:]
	}
	a.set(ctx, a.last)
	return Result{
		Done:      a.done(),
		Failed:    a.failed,
		Uncertain: slices.SortedFunc(maps.Keys(a.uncertain), frontend.Key.Compare),
	}
}

// nextCall is the number of operations at the beginning of p that may be sent in one call. Adds and sets of virtual
// servers stand together, so do adds of real servers, so does everything else; a kind that holds no add needs no
// answer before the next one is sent.
func (p Plan) nextCall() int {
	adds := false
	for i, op := range p {
		if adds && op.Verb.kind() != p[i-1].Verb.kind() {
			return i
		}
		adds = adds || op.Verb == AddVirtual || op.Verb == AddReal
	}
	return len(p)
}

func (v Verb) kind() int {
	switch v {
	case AddVirtual, SetVirtual:
		return 0
	case AddReal:
		return 1
	case DelVirtual, SetReal, DelReal:
	}
	return 2
}

// applier collects a Result. The sets stay nil as long as nothing goes wrong.
type applier struct {
	handle Handle
	// What was done is the beginning of the plan, and after the first operation of which that is not true a list of its own.
	plan   Plan
	prefix int
	own    Plan

	failed    []*OpError
	uncertain map[frontend.Key]bool
	// missing has the virtual servers that could not be made.
	missing map[frontend.Key]bool
	// last has the sets in place of adds that take a real server out of service.
	last Plan
}

// send carries out operations that do not wait for each other, then sets what turned out to exist already.
func (a *applier) send(ctx context.Context, ops Plan) {
	ops = a.possible(ops)
	var sets Plan
	for i, err := range a.do(ctx, ops) {
		op := ops[i]
		switch exists := IsExist(err); {
		case exists && op.Verb == AddReal && op.Real.Weight == 0:
			a.doubt(op.Key)
			a.last = append(a.last, op.asSet())
		case exists && (op.Verb == AddVirtual || op.Verb == AddReal):
			a.doubt(op.Key)
			sets = append(sets, op.asSet())
		default:
			a.settle(op, err)
		}
	}
	a.set(ctx, sets)
}

// set carries out what an add has become. Its virtual server is uncertain already.
func (a *applier) set(ctx context.Context, sets Plan) {
	for i, err := range a.do(ctx, sets) {
		a.settle(sets[i], err)
	}
}

func (a *applier) do(ctx context.Context, ops Plan) []error {
	if len(ops) == 0 || ctx.Err() != nil {
		return nil
	}
	return a.handle.Do(ctx, ops)
}

// possible leaves out the operations whose virtual server could not be made.
func (a *applier) possible(ops Plan) Plan {
	if len(a.missing) == 0 {
		return ops
	}
	return slices.DeleteFunc(slices.Clone(ops), func(op Op) bool {
		return a.missing[op.Key] && (op.Verb == AddReal || op.Verb == SetReal || op.Verb == DelReal)
	})
}

// settle files an operation under what the kernel said to it. It is the table in the comment of Apply.
func (a *applier) settle(op Op, err error) {
	switch {
	case err == nil:
		a.did(op)
		return
	case notSent(err):
		return
	case errors.Is(err, ErrUnknown):
		a.doubt(op.Key)
		return
	}
	gone := IsGone(err)
	switch {
	case gone && op.Verb == DelVirtual:
		a.did(op)
		return
	case gone && op.Verb == DelReal:
		a.did(op)
		if noVirtual(err) {
			a.doubt(op.Key)
		}
		return
	case gone && (op.Verb == SetVirtual || op.Verb == SetReal), noVirtual(err) && op.Verb == AddReal:
	default:
		a.failed = append(a.failed, asOpError(op, err))
	}
	a.doubt(op.Key)
	if op.Verb == AddVirtual || op.Verb == SetVirtual && gone {
		a.lack(op.Key)
	}
}

// did files an operation under what was done.
func (a *applier) did(op Op) {
	switch {
	case a.own != nil:
		a.own = append(a.own, op)
	case op == a.plan[a.prefix]:
		a.prefix++
	default:
		a.own = append(make(Plan, 0, len(a.plan)), a.plan[:a.prefix]...)
		a.own = append(a.own, op)
	}
}

func (a *applier) done() Plan {
	if a.own != nil {
		return a.own
	}
	return a.plan[:a.prefix:a.prefix]
}

func (a *applier) doubt(key frontend.Key) {
	if a.uncertain == nil {
		a.uncertain = map[frontend.Key]bool{}
	}
	a.uncertain[key] = true
}

func (a *applier) lack(key frontend.Key) {
	if a.missing == nil {
		a.missing = map[frontend.Key]bool{}
	}
	a.missing[key] = true
}

// asSet is the operation that gives an entry that exists the configuration that an add wanted for it.
func (o Op) asSet() Op {
	switch o.Verb {
	case AddVirtual:
		o.Verb = SetVirtual
	case AddReal:
		o.Verb = SetReal
	case SetVirtual, DelVirtual, SetReal, DelReal:
	}
	return o
}

// notSent reports that the operation never left because ctx had ended.
func notSent(err error) bool {
	return (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && !errors.Is(err, ErrUnknown)
}

func asOpError(op Op, err error) *OpError {
	var e *OpError
	if errors.As(err, &e) {
		return e
	}
	return &OpError{Op: op, Err: err}
}
