//go:build kernel

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	stdsync "sync"
	"sync/atomic"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// faultyFilter is our real nftables table, through a hand that trembles: so many of a hundred calls fail, every other one after it
// was done.
type faultyFilter struct {
	sync.Filter
	host    *topo.Host // whose table it is: it is read beside the loop too, on a thread of any namespace
	writes  *writes
	percent atomic.Int32
	failed  atomic.Int32
}

func (f *faultyFilter) try(act func() error) error {
	call := func() error { return f.host.Do(act) }
	if rand.Int32N(100) >= f.percent.Load() {
		return call()
	}
	if f.failed.Add(1)%2 == 0 {
		_ = call() // done, and nobody is told
	}
	return fmt.Errorf("nft: %w", context.DeadlineExceeded)
}

func (f *faultyFilter) Read(ctx context.Context) (state filter.State, err error) {
	err = f.try(func() (err error) { state, err = f.Filter.Read(ctx); return err })
	return state, err
}

func (f *faultyFilter) Apply(ctx context.Context, c filter.Change) error {
	for _, k := range c.Keys() {
		f.writes.note(k.String())
	}
	return f.try(func() error { return f.Filter.Apply(ctx, c) })
}

func (f *faultyFilter) Replace(ctx context.Context, rules filter.Rules) error {
	f.writes.note("our table as a whole")
	return f.try(func() error { return f.Filter.Replace(ctx, rules) })
}

// writes are the passes in which each frontend was written, in IPVS or in our table.
type writes struct {
	pass func() int64 // the one under way
	mu   stdsync.Mutex
	in   map[string]map[int64]struct{}
}

func (w *writes) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.in[what] == nil {
		w.in[what] = map[int64]struct{}{}
	}
	w.in[what][w.pass()] = struct{}{}
}

func (w *writes) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.in)
}

// most is what was written in most passes, in how many, and the last pass of all in which anything was.
func (w *writes) most() (which string, passes int, last int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for what, in := range w.in {
		if len(in) > passes {
			which, passes = what, len(in)
		}
		for n := range in {
			last = max(last, n)
		}
	}
	return which, passes, last
}

// wary sees each operation before the kernel does, and remembers those that no moment of the test asks for.
type wary struct {
	ipvs.Handle
	always ipvs.Table // what has to be served all the time
	writes *writes
	ops    atomic.Int64
	wrong  chan string
}

func (w *wary) Do(ctx context.Context, ops []ipvs.Op) []error {
	for _, op := range ops {
		w.ops.Add(1)
		w.writes.note(op.Key.String())
		entry, virtual := w.always[op.Key]
		_, real := entry.Reals[op.RealKey]
		if op.Verb == ipvs.DelVirtual && virtual || real && (op.Verb == ipvs.DelReal || op.Verb == ipvs.SetReal && op.Real.Weight == 0) {
			select {
			case w.wrong <- op.String():
			default:
			}
		}
	}
	return w.Handle.Do(ctx, ops)
}
