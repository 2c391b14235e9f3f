package nodeaddr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	defaultBuffer = 1 << 20
	// relistPeriod is a net below the subscription, which is sound by itself.
	relistPeriod = time.Minute
	// changeGap is the shortest time between two notices: long enough for a burst to become a few, short enough to be
	// nothing against a second.
	changeGap  = 50 * time.Millisecond
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Watcher follows the addresses of one network namespace. It subscribes before it lists, so that nothing falls between;
// whenever the subscription is lost (the socket buffer overran, an error) it subscribes anew and lists again, and until
// that is done the last known addresses stand.
type Watcher struct {
	log    logr.Logger
	ns     netns.NsHandle
	buffer int
	notice *notice

	mu     sync.Mutex
	table  table
	listed bool
}

// Option changes how a Watcher works.
type Option func(*Watcher)

// WithNamespace makes the Watcher follow another network namespace than that of the process. The handle must stay open
// until Run has returned.
func WithNamespace(ns netns.NsHandle) Option { return func(w *Watcher) { w.ns = ns } }

// WithReceiveBuffer sets the size of the subscription's socket buffer in bytes (default 1 MiB, some thousand changes).
func WithReceiveBuffer(bytes int) Option { return func(w *Watcher) { w.buffer = bytes } }

// NewWatcher makes a Watcher that does nothing before Run.
func NewWatcher(log logr.Logger, options ...Option) *Watcher {
	w := &Watcher{log: log, ns: netns.None(), buffer: defaultBuffer, notice: newNotice(changeGap), table: newTable()}
	for _, o := range options {
		o(w)
	}
	return w
}

// Changed tells that Addresses has something new, the first time when the first listing is complete. It has room for
// one notice: the first change of a burst is told at once, what follows within 50 ms is told together. It is never
// closed.
func (w *Watcher) Changed() <-chan struct{} { return w.notice.c }

// Addresses gives the present addresses, sorted; the slice is the caller's. It reports false, and no addresses, until
// the first listing is complete: nothing may be concluded before.
func (w *Watcher) Addresses() ([]Address, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.listed {
		return nil, false
	}
	return w.table.addresses(), true
}

// Run follows the addresses until ctx ends, and then returns nil. It returns an error only when not even the first
// subscription is possible, which no repetition would mend; later failures are logged and tried again. Run may be
// called once.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.notice.stop()
	backoff := minBackoff
	for first := true; ; first = false {
		s, err := subscribe(w.ns, w.buffer)
		if err != nil && first {
			return fmt.Errorf("nodeaddr: %w", err)
		}
		started := time.Now()
		if err == nil {
			err = w.follow(ctx, s)
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(started) > maxBackoff {
			backoff = minBackoff
		}
		w.log.Info("Lost track of the node's addresses, reading them again", "reason", err.Error(), "after", backoff)
		if !sleep(ctx, backoff) {
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// follow lists and then applies what the subscription tells, until that fails or ctx ends. It closes s.
func (w *Watcher) follow(ctx context.Context, s *nl.NetlinkSocket) error {
	defer s.Close()
	// A closed socket is what wakes Receive.
	defer context.AfterFunc(ctx, s.Close)()
	period := unix.NsecToTimeval(relistPeriod.Nanoseconds())
	if err := s.SetReceiveTimeout(&period); err != nil {
		return fmt.Errorf("subscription to addresses: %w", err)
	}
	if err := w.relist(); err != nil {
		return err
	}
	listed := time.Now()
	for {
		messages, from, err := s.Receive()
		switch {
		case errors.Is(err, unix.EAGAIN): // quiet for a whole period
		case err != nil:
			return fmt.Errorf("subscription to addresses: %w", err)
		case from.Pid != nl.PidKernel: // any process may send to a netlink socket
			continue
		}
		for _, m := range messages {
			e, err := decode(m.Header.Type, m.Data)
			if err != nil {
				return err
			}
			w.apply(e)
		}
		if time.Since(listed) >= relistPeriod {
			if err := w.relist(); err != nil {
				return err
			}
			listed = time.Now()
		}
	}
}

// relist replaces the table. Events that are in the subscription's buffer meanwhile are applied afterwards: an older one
// may undo what the listing has seen, but then a younger one follows that does it again.
func (w *Watcher) relist() error {
	t, err := list(w.ns)
	if err != nil {
		return err
	}
	w.mu.Lock()
	changed := !w.listed || !slices.Equal(w.table.addresses(), t.addresses())
	w.table, w.listed = t, true
	w.mu.Unlock()
	if changed {
		w.notice.send()
	}
	return nil
}

func (w *Watcher) apply(e event) {
	if e == nil {
		return
	}
	w.mu.Lock()
	changed := e.apply(w.table)
	w.mu.Unlock()
	if changed {
		w.log.V(4).Info("Node address event", "event", e)
		w.notice.send()
	}
}

// sleep waits for d and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
