package traffic

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// round is one round of reading, for everybody who waits for it.
type round struct {
	began  time.Time
	wished map[sync.ServiceID]struct{}
	// done is closed when the others are set.
	done   chan struct{}
	sample Sample
	err    error
}

// wait waits for the end of the round, or of ctx.
func (r *round) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the kernel's counters: %w", ctx.Err())
	}
}

// run is the round. It has a goroutine of its own, so that a kernel that does not answer holds up nobody longer than he wants
// to wait, and that the reading is not lost for the others when one of them leaves.
func (m *Meter) run(ctx context.Context, r *round) {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	var n Reads
	sample, behind, err := m.read(ctx, r, &n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		n.Errors++
	}
	m.reads = Reads{
		Virtuals: m.reads.Virtuals + n.Virtuals, Reals: m.reads.Reals + n.Reals,
		Use: m.reads.Use + n.Use, Errors: m.reads.Errors + n.Errors,
	}
	if !sample.Time.IsZero() {
		m.last, m.behind = sample, behind
	}
	r.sample, r.err = m.last, err
	m.round = nil
	close(r.done)
}

// read reads the kernel and adds up. There is no sample, and nothing is added, if not even the virtual servers could be read; if
// the reading of real servers failed half way, what was read counts. behind are the Services whose endpoints have traffic that
// was not read.
func (m *Meter) read(ctx context.Context, r *round, n *Reads) (_ Sample, behind map[sync.ServiceID]struct{}, _ error) {
	serving := m.serving()
	if len(serving) == 0 { // the agent has just started: it has more to do than to count
		m.memory.begin(r.began, serving)
		return m.memory.sample(), nil, nil
	}
	n.Virtuals++
	counters, err := m.reader.Virtuals(ctx)
	if err != nil {
		return Sample{}, nil, fmt.Errorf("reading the counters of virtual servers: %w", err)
	}
	n.Use++
	use, err := m.reader.Use(ctx)
	if err != nil {
		return Sample{}, nil, fmt.Errorf("reading the connections of real servers: %w", err)
	}
	m.memory.begin(r.began, serving)
	m.memory.count(counters)
	m.memory.meet(use, serving)
	chosen, waiting := m.memory.choose(r.wished, m.maxReads)
	for i, c := range chosen {
		n.Reals++
		reals, readErr := m.reader.Reals(ctx, c.key)
		if readErr != nil {
			err = fmt.Errorf("reading the counters of the real servers of %s: %w", c.key, readErr)
			waiting = append(waiting, chosen[i:]...)
			break
		}
		m.memory.countReals(c.key, reals)
	}
	behind = map[sync.ServiceID]struct{}{}
	for _, c := range waiting {
		behind[c.service] = struct{}{}
	}
	return m.memory.sample(), behind, err
}
