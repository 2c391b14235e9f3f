package sync

import (
	"maps"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// flowCost is how much longer the agent does other things than it looks through the kernel's table of connections, which
// takes the longer the more the node has.
const flowCost = 10

// flowCare is which UDP frontends may have flows that the kernel sends astray. A flow has no end, so what conntrack knows
// of it stays while the client goes on sending, whatever becomes of the real server:
//
//	a real server was deleted      the entry still expects its answers (IPVS itself deletes those of its own connections)
//	a virtual server was made      entries from before expect the node's own answers: nothing is masqueraded, and the
//	                               answers of the pods go astray
//
// What neither happened to is not looked at, but once after a start: the agent before may have been killed between a
// deletion and the look that follows it.
type flowCare struct {
	keys keySet
	// next is when they may be looked at.
	next time.Time
	// wait is how long after a failure; 0 if the last look went well.
	wait time.Duration
}

// note remembers the frontends for which an acknowledged operation, or one of unknown fate, may leave stale flows.
func (f *flowCare) note(result ipvs.Result) {
	for _, op := range result.Done {
		switch {
		case op.Key.Protocol != frontend.UDP:
		case op.Verb == ipvs.AddVirtual || op.Verb == ipvs.DelReal:
			f.keys.add(op.Key)
		}
	}
	for _, key := range result.Uncertain {
		if key.Protocol == frontend.UDP {
			f.keys.add(key)
		}
	}
}

// adopt remembers a frontend that an agent before this one may have made or changed.
func (f *flowCare) adopt(key frontend.Key) {
	if key.Protocol == frontend.UDP {
		f.keys.add(key)
	}
}

// flowsDue reports whether there is anything to look at. What the kernel has of a frontend must be known for that.
func (r *Reconciler) flowsDue() bool {
	if r.DeleteStaleFlows == nil {
		return false
	}
	for key := range r.flows.keys {
		if !r.unread.has(key) {
			return true
		}
	}
	return false
}

// tendFlows deletes the stale flows, unless the last look was too short a while ago. It is part of the pass, not of a
// goroutine beside it: no real server is added meanwhile, so a flow to a new one is never taken for stale.
func (r *Reconciler) tendFlows(now time.Time, p *passReport) {
	if now.Before(r.flows.next) || !r.flowsDue() {
		return
	}
	real := r.realServersOfFlows()
	begin := time.Now()
	var deleted int
	var err error
	if len(real) > 0 {
		deleted, err = r.DeleteStaleFlows(real)
	}
	p.flows += deleted
	failing := r.flows.wait > 0
	switch {
	case err != nil:
		r.flows.wait = min(max(2*r.flows.wait, firstRetry), lastRetry)
		if !failing {
			r.log.Error(err, "UDP flows may go on to where nobody serves them; their entries in conntrack will be looked for again", "frontends", len(real))
		}
	default:
		r.flows.wait = 0
		maps.DeleteFunc(r.flows.keys, func(key frontend.Key, _ struct{}) bool { return !r.unread.has(key) })
		if failing {
			r.log.Info("Conntrack was looked through again", "frontends", len(real))
		}
	}
	end := time.Now()
	r.flows.next = end.Add(max(r.flows.wait, flowCost*end.Sub(begin)))
}

// realServersOfFlows are the real servers, also those without new connections, of the frontends to be looked at.
func (r *Reconciler) realServersOfFlows() map[frontend.Key][]netip.AddrPort {
	real := map[frontend.Key][]netip.AddrPort{}
	for key := range r.flows.keys {
		// What is not served any more is the node's own business.
		if entry, served := r.have.table[key]; served && !r.unread.has(key) {
			real[key] = entry.RealKeys()
		}
	}
	return real
}
