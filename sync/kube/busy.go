package kube

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// The pauses between two tries at an API server that has no time: doubled each time, and up to half as much again of chance.
	firstBusyWait = time.Second
	lastBusyWait  = 30 * time.Second
	// busyOver is how long after a pause the next one is a first one again.
	busyOver = time.Minute
)

// busyPauses are the pauses in which an API server that has no time (429) is left alone.
type busyPauses struct {
	mu   sync.Mutex
	next time.Duration
	ends time.Time
}

// after is the pause after such an answer: ours, or the one that the server asks for (Retry-After) if that is longer.
func (p *busyPauses) after(err error) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.ends) > busyOver {
		p.next = firstBusyWait
	}
	wanted := p.next
	if seconds, asked := apierrors.SuggestsClientDelay(err); asked {
		wanted = max(wanted, time.Duration(seconds)*time.Second)
	}
	pause := wait.Jitter(wanted, 0.5)
	p.next, p.ends = min(2*p.next, lastBusyWait), time.Now().Add(pause)
	return pause
}

// pause tells that the API server has no time, and returns after the pause for it, or at the end of ctx with its error.
func (r *reader[L]) pause(ctx context.Context, err error) error {
	r.busy(err)
	again := time.NewTimer(r.pauses.after(err))
	defer again.Stop()
	select {
	case <-again.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openWatch is a watch that has no end in 429.
type openWatch struct {
	watch.Interface
	events chan watch.Event
	stop   context.CancelFunc
}

// ResultChan is that of watch.Interface.
func (w *openWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop is that of watch.Interface.
func (w *openWatch) Stop() {
	w.stop()
	w.Interface.Stop()
}

// passOn passes on what a watch says until nobody listens any more. One that says 429 ends in order after the pause for that: a reflector
// goes on at once then, where it was. The pause, but nothing else, ends with limited.
func (w *openWatch) passOn(listens, limited context.Context, pause func(context.Context, error) error) {
	defer close(w.events)
	for e := range w.Interface.ResultChan() {
		if e.Type == watch.Error {
			if err := apierrors.FromObject(e.Object); apierrors.IsTooManyRequests(err) {
				w.Interface.Stop()
				_ = pause(limited, err) // Either way the watch is over.
				return
			}
		}
		select {
		case w.events <- e:
		case <-listens.Done():
			return
		}
	}
}
