package sync

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// takeIn feeds the state with what the source and the node's addresses say now. It returns the orphans once the input
// is complete: then nobody wants them for sure. It is not complete while some of it has never been readable, nor while
// addresses are chosen by a Node object that does not exist or lists none. The same goes for addresses that are away and nobody knows
// where they stood, until they are back or given up.
func (r *Reconciler) takeIn(now time.Time, p *passReport) []frontend.Key {
	was, away := r.partial, r.placeless()
	for _, u := range r.updates(now) {
		r.state.Update(u)
		r.unprogrammed.merge(u.Triggers)
		if len(u.Services) > 0 || u.Node != nil {
			p.sync, r.nextSync = true, now.Add(r.MinSyncPeriod)
		}
		if u.Node != nil {
			r.board.setIneligible(u.Node.Ineligible)
			r.takePrimary(u.Node.Primary())
			r.takePods(*u.Node)
		}
		r.partial = u.Incomplete
	}
	if r.NodePortAddresses.UsesPrimary() && len(r.primary) == 0 {
		r.partial = true
	}
	r.sayWhosePodsAreKnown()
	if r.addressesDue(now) {
		p.sync = true // this is so with every audit too
		if all, ok := r.Addresses.Addresses(); ok {
			r.setAddresses(now, all)
		}
	}
	if was && !r.partial || r.placeless() < away {
		return r.orphans.sorted()
	}
	return nil
}

// takePrimary takes over what the Node object says is primary now. A Node that has lost its addresses of a family says nothing about
// those of the host: the last one stands.
func (r *Reconciler) takePrimary(primary []netip.Addr) {
	for _, before := range r.primary {
		if !slices.ContainsFunc(primary, func(a netip.Addr) bool { return a.Is4() == before.Is4() }) {
			primary = append(primary, before)
		}
	}
	if len(primary) > 0 {
		r.primary, r.addressesChanged = primary, true
	}
}

// placeless counts the addresses that are served and of which nobody knows where they stood.
func (r *Reconciler) placeless() int {
	n := 0
	for addr := range r.grace {
		if placeless(addr, r.grace, r.state.Places()) {
			n++
		}
	}
	return n
}

// placeless reports whether nobody knows on which interface an address stood that is away: an agent before this one served it. What
// Services chose it by that interface is not known either, and they may be right about it in a moment.
func placeless(addr netip.Addr, grace map[netip.Addr]time.Time, places []nodeaddr.Place) bool {
	if _, away := grace[addr]; !away {
		return false
	}
	i := slices.IndexFunc(places, func(p nodeaddr.Place) bool { return p.Addr == addr })
	return i >= 0 && len(places[i].Interfaces) == 0
}

// updates are what the source delivered since the last pass, oldest first, unless it is held.
func (r *Reconciler) updates(now time.Time) []Update {
	var all []Update
	if r.first != nil {
		all, r.first = append(all, *r.first), nil
	}
	if r.held(now) {
		return all
	}
	if u, ok := r.Source.Next(); ok {
		all = append(all, u)
	}
	return all
}

// addressesDue reports whether the addresses have to be looked at. A change of one Service does not pay for it: beside
// kube-proxy in IPVS mode a node has an address for each ClusterIP. With every audit they are looked at anyway.
func (r *Reconciler) addressesDue(now time.Time) bool {
	due := r.addressesChanged || !now.Before(r.nextAudit)
	for _, until := range r.grace {
		due = due || !now.Before(until)
	}
	r.addressesChanged = false
	return due
}

// setAddresses gives the state the addresses that serve: those chosen now, and those that vanished a moment ago. An
// address that the node has but does not choose any more (a changed Node object) is given up at once; one that is back
// and not usable yet (duplicate address detection) is still within its grace.
func (r *Reconciler) setAddresses(now time.Time, all []nodeaddr.Address) {
	var usable []netip.Addr
	r.local, r.own = r.local[:0], r.own[:0]
	for _, a := range all {
		r.local = append(r.local, a.Addr)
		if !a.OfServices() {
			r.own = append(r.own, a.Addr)
		}
		if a.Unusable() == "" {
			usable = append(usable, a.Addr)
		}
	}
	chosen, _ := r.NodePortAddresses.Select(all, r.primary)
	serving := slices.Clone(chosen)
	for _, before := range r.state.Addresses() {
		switch {
		case slices.Contains(chosen, before), slices.Contains(usable, before):
			delete(r.grace, before)
		default:
			until, known := r.grace[before]
			if !known {
				until = now.Add(r.AddressGrace)
				r.grace[before] = until
			}
			if now.Before(until) {
				serving = append(serving, before)
			} else {
				delete(r.grace, before)
			}
		}
	}
	r.state.SetPlaces(nodeaddr.Places(serving, all, r.primary, r.state.Places()))
}
