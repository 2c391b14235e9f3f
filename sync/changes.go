package sync

import (
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Changes counts what came into a Source.
type Changes struct {
	Services, EndpointSlices ChangeCount
	// Queued is when the last change came that has to be looked at, of whatever kind; zero before everything was read once.
	Queued time.Time
}

// ChangeCount counts objects of one kind that came, changed in what matters, or went.
type ChangeCount struct {
	// Total only grows. Pending are those of them that Next has not looked at yet.
	Total, Pending uint64
}

// Add counts one more.
func (c *ChangeCount) Add() {
	c.Total++
	c.Pending++
}

// Triggers are the times of changes, by the Service that they concern.
type Triggers map[ServiceID][]time.Time

// maxTriggers bounds what is remembered of one Service while the kernel refuses it. The oldest are kept: they will have
// taken the longest.
const maxTriggers = 32

// Add takes down changes of a Service.
func (t Triggers) Add(id ServiceID, times ...time.Time) {
	if room := maxTriggers - len(t[id]); len(times) > room {
		times = times[:room]
	}
	if len(times) > 0 {
		t[id] = append(t[id], times...)
	}
}

func (t Triggers) merge(more Triggers) {
	for id, times := range more {
		t.Add(id, times...)
	}
}

// notePrograms measures the changes that have arrived: every frontend of their Service is in the kernel as it should be. One
// that is to be tried again has not; it counts when it succeeds. A Service that asks nothing of this node counts never.
func (r *Reconciler) notePrograms(now time.Time) {
	for id, times := range r.unprogrammed {
		keys := r.state.keys[id]
		if slices.ContainsFunc(keys, r.toBeRetried) {
			continue
		}
		delete(r.unprogrammed, id)
		for _, t := range times {
			if len(keys) > 0 {
				r.histograms.programming.Observe(now.Sub(t).Seconds())
			}
		}
	}
}

func (r *Reconciler) toBeRetried(key frontend.Key) bool {
	_, failed := r.retry[key]
	return failed
}
