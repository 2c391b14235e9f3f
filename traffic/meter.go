package traffic

import (
	"context"
	stdsync "sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// DefaultMaxReads is how many virtual servers are asked for their real servers in one round.
const DefaultMaxReads = 500

// roundLimit is the time that one round of reading may take, whoever waits for it: readings that the kernel does not answer
// end then.
const roundLimit = 10 * time.Second

// Options of a Meter.
type Options struct {
	// MaxReads is how many virtual servers are asked for their real servers in one round; 0 is DefaultMaxReads. A round
	// asks only those that have counted something since they were last asked, so it follows the traffic, and those that are
	// left over come first in the next one.
	MaxReads int
	// OnlyAsked leaves the real servers unread but for those of Services that somebody asks for (SampleOf).
	OnlyAsked bool
}

// Meter counts the traffic of Service ports. Its methods may be called from several goroutines.
type Meter struct {
	reader   ipvs.StatsReader
	serving  func() map[frontend.Key]sync.Served
	maxReads int

	// memory belongs to the round that is under way.
	memory *memory

	mu     stdsync.Mutex
	round  *round
	last   Sample
	behind map[sync.ServiceID]struct{}
	wished map[sync.ServiceID]struct{}
	reads  Reads
}

// Reads says how much was asked of the kernel, and how many of the readings failed.
type Reads struct {
	Virtuals, Reals, Use, Errors uint64
}

// NewMeter is a Meter of what serving says, read by reader. It reads nothing until it is asked.
func NewMeter(reader ipvs.StatsReader, serving func() map[frontend.Key]sync.Served, o Options) *Meter {
	if o.MaxReads <= 0 {
		o.MaxReads = DefaultMaxReads
	}
	if o.OnlyAsked {
		o.MaxReads = 0
	}
	return &Meter{
		reader: reader, serving: serving, maxReads: o.MaxReads,
		memory: newMemory(), wished: map[sync.ServiceID]struct{}{},
	}
}

// Sample is what was counted, maxAge ago at the earliest: 0 reads the kernel now, which brings its counters up to date every two
// seconds. Callers at the same time share one reading.
// If the kernel cannot be read, or ctx ends first, the newest sample that there is (the zero Sample if none) comes with the
// error.
func (m *Meter) Sample(ctx context.Context, maxAge time.Duration) (Sample, error) {
	return m.SampleOf(ctx, maxAge)
}

// SampleOf is a Sample in which the endpoints of these Services are as new as all else, whatever had to wait for a later round.
func (m *Meter) SampleOf(ctx context.Context, maxAge time.Duration, services ...sync.ServiceID) (Sample, error) {
	notBefore := time.Now().Add(-maxAge)
	newest, r, ours := m.join(ctx, notBefore, services, false)
	if r != nil && !ours {
		// It had begun already: what this caller wants is in the next one, if it is not in this one by chance.
		if err := r.wait(ctx); err != nil {
			return newest, err
		}
		newest, r, _ = m.join(ctx, notBefore, services, true)
	}
	if r == nil {
		return newest, nil
	}
	if err := r.wait(ctx); err != nil {
		return newest, err
	}
	return r.sample, r.err
}

// join is the newest sample, and the round to wait for if that one will not do: ours says that the round will. The Services
// are wished for in the next round that begins, unless the caller has been here before.
func (m *Meter) join(ctx context.Context, notBefore time.Time, services []sync.ServiceID, again bool) (newest Sample, r *round, ours bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.last.Time.IsZero() && !m.last.Time.Before(notBefore) && m.upToDate(services) {
		return m.last, nil, true
	}
	if m.round == nil || !again {
		for _, id := range services {
			m.wished[id] = struct{}{}
		}
	}
	if m.round != nil {
		return m.last, m.round, len(services) == 0 && !m.round.began.Before(notBefore)
	}
	r = &round{began: time.Now(), done: make(chan struct{}), wished: m.wished}
	m.round, m.wished = r, map[sync.ServiceID]struct{}{}
	go m.run(context.WithoutCancel(ctx), r)
	return m.last, r, true
}

// upToDate reports that nothing of the Services waits for another round.
func (m *Meter) upToDate(services []sync.ServiceID) bool {
	for _, id := range services {
		if _, waits := m.behind[id]; waits {
			return false
		}
	}
	return true
}

// Reads is how much was read so far.
func (m *Meter) Reads() Reads {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}
