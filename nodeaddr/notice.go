package nodeaddr

import (
	"sync"
	"time"
)

// notice tells one receiver that something changed: the first change at once, those that follow within the gap together
// at its end. A change is never lost: after the last one the receiver always gets a notice.
type notice struct {
	c   chan struct{}
	gap time.Duration

	mu      sync.Mutex
	last    time.Time
	pending *time.Timer // not nil while a notice waits for the end of the gap
}

func newNotice(gap time.Duration) *notice {
	return &notice{c: make(chan struct{}, 1), gap: gap}
}

func (n *notice) send() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending != nil {
		return
	}
	if rest := n.gap - time.Since(n.last); rest > 0 {
		n.pending = time.AfterFunc(rest, n.sendPending)
		return
	}
	n.deliver()
}

func (n *notice) sendPending() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending = nil
	n.deliver()
}

func (n *notice) deliver() {
	n.last = time.Now()
	select {
	case n.c <- struct{}{}:
	default: // the receiver has one to take already, and will see this change with it
	}
}

// stop takes back a notice that waits.
func (n *notice) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending != nil {
		n.pending.Stop()
	}
}
