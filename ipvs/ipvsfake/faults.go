package ipvsfake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Fault is a failure of the first operation that it fits: of this verb, on this virtual server (any, if the key is
// zero) and this real server (any, if zero). The operation is not carried out unless Done says so.
type Fault struct {
	Verb ipvs.Verb
	Key  frontend.Key
	Real netip.AddrPort
	Err  error
	// Done lets the operation be carried out first: its answer is lost or wrong.
	Done bool
}

func (f Fault) fits(op ipvs.Op) bool {
	return f.Verb == op.Verb &&
		(f.Key == frontend.Key{} || f.Key == op.Key) &&
		(f.Real == netip.AddrPort{} || f.Real == op.RealKey)
}

// Faults says how calls fail.
type Faults struct {
	// Once has failures that happen one time each. Ask Unconsumed at the end of a test.
	Once []Fault
	// Rate is the probability that an operation or a read fails at random, Seed makes it the same every time. An
	// operation fails with EINTR, ENOMEM or ENOBUFS, the socket is closed under it and all that the call has left, its answer is
	// lost whether it was done or not (ErrUnknown), or another writer is a moment faster: what is added is there already,
	// what is set or deleted is gone.
	Rate float64
	Seed uint64
	// Alone: there is no other writer.
	Alone bool
	// Lossy is the probability that a dump misses an entry, as they do while somebody writes.
	Lossy float64
}

// FaultyHandle is a handle that fails. What it lets through reaches the handle beneath, one operation in each call.
type FaultyHandle struct {
	ipvs.Handle

	mu     sync.Mutex
	faults Faults
	rand   *rand.Rand
}

// Faulty wraps h.
func Faulty(h ipvs.Handle, f Faults) *FaultyHandle {
	f.Once = slices.Clone(f.Once)
	return &FaultyHandle{Handle: h, faults: f, rand: rand.New(rand.NewPCG(f.Seed, f.Seed))}
}

// Unconsumed lists the failures of Once that have not happened: the test never came where it wanted to go.
func (h *FaultyHandle) Unconsumed() []Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.faults.Once)
}

// Heal ends all failures, those of Once too if they have not happened yet.
func (h *FaultyHandle) Heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = Faults{}
}

// Do implements ipvs.Handle.
func (h *FaultyHandle) Do(ctx context.Context, ops []ipvs.Op) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	results := make([]error, len(ops))
	var closed error
	for i, op := range ops {
		if err := cmp.Or(ctx.Err(), closed); err != nil {
			results[i] = &ipvs.OpError{Op: op, Err: err}
			continue
		}
		results[i] = h.one(ctx, op)
		if errors.Is(results[i], syscall.EBADF) {
			closed = syscall.EBADF
		}
	}
	return results
}

func (h *FaultyHandle) one(ctx context.Context, op ipvs.Op) error {
	if i := slices.IndexFunc(h.faults.Once, func(f Fault) bool { return f.fits(op) }); i >= 0 {
		f := h.faults.Once[i]
		h.faults.Once = slices.Delete(h.faults.Once, i, i+1)
		if f.Done {
			_ = h.pass(ctx, op) // The test wants f.Err as the answer, whatever came of it.
		}
		return &ipvs.OpError{Op: op, Err: f.Err}
	}
	if h.rand.Float64() >= h.faults.Rate {
		return h.pass(ctx, op)
	}
	kinds := 7
	if h.faults.Alone {
		kinds--
	}
	switch h.rand.IntN(kinds) {
	case 0:
		return &ipvs.OpError{Op: op, Err: syscall.EINTR}
	case 1:
		return &ipvs.OpError{Op: op, Err: syscall.ENOMEM}
	case 2:
		_ = h.pass(ctx, op) // The answer is lost.
		return &ipvs.OpError{Op: op, Err: ipvs.ErrUnknown}
	case 3:
		return &ipvs.OpError{Op: op, Err: ipvs.ErrUnknown}
	case 4:
		return &ipvs.OpError{Op: op, Err: syscall.ENOBUFS}
	case 5:
		return &ipvs.OpError{Op: op, Err: syscall.EBADF}
	}
	_ = h.pass(ctx, rival(op)) // The other writer's own trouble is not ours.
	return h.pass(ctx, op)
}

func (h *FaultyHandle) pass(ctx context.Context, op ipvs.Op) error {
	return h.Handle.Do(ctx, []ipvs.Op{op})[0]
}

// rival is what another writer does a moment before op, so that op meets something it did not expect.
func rival(op ipvs.Op) ipvs.Op {
	switch op.Verb {
	case ipvs.AddVirtual:
		op.Virtual.Scheduler = "rr"
	case ipvs.AddReal:
		op.Real.Weight++
	case ipvs.SetVirtual:
		op.Verb = ipvs.DelVirtual
	case ipvs.SetReal:
		op.Verb = ipvs.DelReal
	case ipvs.DelVirtual, ipvs.DelReal:
	}
	return op
}

// Get implements ipvs.Handle.
func (h *FaultyHandle) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	if h.chance(Faults.rate) {
		return ipvs.Entry{}, nil, fmt.Errorf("ipvs: get %s: %w", key, ipvs.ErrUnknown)
	}
	return h.Handle.Get(ctx, key)
}

// List implements ipvs.Handle.
func (h *FaultyHandle) List(ctx context.Context) (ipvs.Table, error) {
	if h.chance(Faults.rate) {
		return nil, fmt.Errorf("ipvs: list: %w", syscall.EINTR)
	}
	t, err := h.Handle.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range t.Keys() {
		if h.chance(Faults.lossy) {
			delete(t, key)
			continue
		}
		for _, addr := range t[key].RealKeys() {
			if h.chance(Faults.lossy) {
				delete(t[key].Reals, addr)
			}
		}
	}
	return t, nil
}

// Virtuals implements ipvs.Handle.
func (h *FaultyHandle) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.VirtualServer, error) {
	if h.chance(Faults.rate) {
		return nil, fmt.Errorf("ipvs: list virtual servers: %w", syscall.EINTR)
	}
	virtuals, err := h.Handle.Virtuals(ctx)
	for _, key := range slices.SortedFunc(maps.Keys(virtuals), frontend.Key.Compare) {
		if h.chance(Faults.lossy) {
			delete(virtuals, key)
		}
	}
	return virtuals, err
}

// SameReals implements ipvs.Handle.
func (h *FaultyHandle) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	if h.chance(Faults.rate) {
		return false, fmt.Errorf("ipvs: compare %s: %w", key, ipvs.ErrUnknown)
	}
	same, err := h.Handle.SameReals(ctx, key, reals, each)
	return same && !h.chance(Faults.lossy), err
}

func (f Faults) rate() float64  { return f.Rate }
func (f Faults) lossy() float64 { return f.Lossy }

func (h *FaultyHandle) chance(p func(Faults) float64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rand.Float64() < p(h.faults)
}
