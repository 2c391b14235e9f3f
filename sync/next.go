package sync

import (
	"cmp"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// tables are the kernel's part under keys and what should stand there next, draining included. What is as wanted is in
// neither: an agent that starts again finds thousands of frontends, and has nothing to do with any.
func (r *Reconciler) tables(now time.Time, keys []frontend.Key) (have, next ipvs.Table) {
	have, next = r.have.table.Only(keys), make(ipvs.Table, len(keys))
	for _, key := range keys {
		present, exists := have[key]
		var want *Frontend
		if f, wanted := r.state.Want(key); wanted {
			want = &f
		}
		delete(r.orphans, key)
		r.patience.note(key, want, exists)
		if exists && r.asWanted(key, present, want) {
			delete(have, key)
			continue
		}
		if !exists && (want == nil || want.SlowStart == 0) { // nothing there can leave or rise
			delete(r.leaving, key)
			delete(r.rising, key)
			if want != nil {
				next[key] = want.Entry // not a copy: nobody writes to next
			}
			continue
		}
		entry, leaving, up := follow(now, r.drainTimeout(key), key, present, want, r.leaving[key], r.rising[key])
		delete(r.leaving, key)
		delete(r.rising, key)
		if len(leaving) > 0 {
			r.leaving[key] = leaving
		}
		if len(up.since) > 0 {
			r.rising[key] = up
		}
		if entry == nil {
			delete(r.patience, key)
			continue
		}
		next[key] = *entry
	}
	return have, next
}

// asWanted reports that the kernel has just what the Service of a frontend asks for, and nothing of it leaves or rises. The
// memory of it is shared with the wish then.
func (r *Reconciler) asWanted(key frontend.Key, present ipvs.Entry, want *Frontend) bool {
	return want != nil && want.SlowStart == 0 && len(r.leaving[key]) == 0 && len(r.rising[key].since) == 0 &&
		present.VirtualServer == want.Entry.VirtualServer && r.have.share(key, want.Entry.Reals)
}

// follow is the entry that should follow a frontend's present one in the kernel, nil if none should, with the real servers
// that leave and those whose weight rises. It is pure.
func follow(now time.Time, timeout time.Duration, key frontend.Key, present ipvs.Entry, want *Frontend, leaving departures, up rising) (*ipvs.Entry, departures, rising) {
	entry, leaving := drain(now, timeout, key, present, want, leaving)
	if want == nil || entry == nil || want.SlowStart == 0 {
		return entry, leaving, rising{}
	}
	return entry, leaving, ramp(now, want.SlowStart, present, entry, up)
}

// drainTimeout is how long the departing real servers of a frontend may take. On an address that the node has given up no
// packet comes in, so nothing can end there; and the virtual server would keep the node itself from whoever has it now.
func (r *Reconciler) drainTimeout(key frontend.Key) time.Duration {
	_, inGrace := r.grace[key.Addr]
	if inGrace || slices.Contains(r.local, key.Addr) {
		want, wanted := r.state.Want(key)
		return r.patience.of(key, want, wanted, r.DrainTimeout)
	}
	return 0
}

// patience is how long the real servers of frontends may take to leave whose Services chose that themselves. It outlives
// the Service: what is left of a deleted one drains as its author asked. A restart forgets it with the Service.
type patience map[frontend.Key]time.Duration

// of is the bound for a frontend: its Service's, that of the one that wanted it last, or the node's.
func (p patience) of(key frontend.Key, want Frontend, wanted bool, node time.Duration) time.Duration {
	own := p[key]
	if wanted {
		own = want.DrainTimeout
	}
	return cmp.Or(own, node)
}

// note remembers the choice of the Service that wants a frontend, until nobody does and the kernel has nothing left of it.
func (p patience) note(key frontend.Key, want *Frontend, exists bool) {
	switch {
	case want != nil && want.DrainTimeout > 0:
		p[key] = want.DrainTimeout
	case want != nil, !exists:
		delete(p, key)
	}
}
