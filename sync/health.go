package sync

import (
	"fmt"
	"time"
)

// stuckAfter is how long a pass may take before the agent counts as stuck. A call of IPVS ends after ten seconds and one
// of nft after a minute, so a pass that takes longer than several of them is not merely slow.
const stuckAfter = 5 * time.Minute

// Health says whether the agent does its work.
type Health struct {
	// Alive: the reconcile loop is not stuck. Ready: it is alive, has synced, has not been failing for longer than two sync
	// periods, and has something to go by.
	Alive, Ready bool
	// Reason says in words why not; empty if both are true.
	Reason string
	// Ineligible says why load balancers should send this node nothing new, although it serves; empty if they may.
	Ineligible string
	// Synced is when a pass last ended without a failure; zero if none has.
	Synced time.Time
}

// Health is that of now.
func (r *Reconciler) Health(now time.Time) Health {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	s := r.board.status
	h := Health{Alive: true, Synced: s.Synced, Ineligible: s.Ineligible}
	started := r.board.started
	switch {
	case r.board.awaited != "":
		h.Reason = r.board.awaited
	case !started.IsZero() && now.Sub(started) > stuckAfter:
		h.Alive = false
		h.Reason = fmt.Sprintf("the pass that began at %s has not ended", started.Format(time.RFC3339))
	case s.Synced.IsZero() && s.Err == nil:
		h.Reason = "waiting for Services, EndpointSlices, the Node and the node's addresses"
	case s.Synced.IsZero():
		h.Reason = fmt.Sprintf("nothing could be synced yet: %v", s.Err)
	case !s.FailingSince.IsZero() && now.Sub(s.FailingSince) > 2*r.SyncPeriod:
		h.Reason = fmt.Sprintf("failing since %s: %v", s.FailingSince.Format(time.RFC3339), s.Err)
	case s.Starved:
		h.Reason = "part of the input cannot be read, and what can be read asks for nothing here: see the problems in the log"
	default:
		h.Ready = true
	}
	return h
}
