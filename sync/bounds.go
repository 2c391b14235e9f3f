package sync

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
)

// Bounds are how much a node serves at most; 0 is no bound. They keep authors of Services from using up the kernel's memory,
// and the time that an audit has.
type Bounds struct {
	// Services counts those that ask for a frontend on this node, VirtualServers the frontends of all of them.
	Services, VirtualServers int
	// RealServers is for each virtual server, those that leave it not counted.
	RealServers int
}

// excess is why a Service is not served although nobody else has its ports.
type excess uint8

const (
	fits excess = iota
	tooManyServices
	tooManyVirtualServers
	tooLarge // on its own
)

// admission is whom the node serves where Bounds leave somebody out: a part of State.
//
// The oldest come first, in the order of the ledger, and the first that does not fit ends it: a Service is served whole or
// not at all, and none that goes, or becomes smaller, ever takes another one's place from it. One that would not fit into
// an empty node does not count, until it does fit. Nothing is remembered, so the same Services give the same result on every
// node and after every restart; the price is that an older Service that begins to ask for node ports, or to fit, takes the
// place of the newest.
type admission struct {
	asks    map[ServiceID]int      // how many frontends a Service asks for; none with 0
	sum     int                    // of asks
	noted   map[ServiceID]struct{} // whose number, or age, may have changed since it was decided
	leftOut map[ServiceID]excess   // never written to, but replaced
	// order has all that ask, as of the last decision, if that left somebody out: to sort 10,000 anew takes 14 ms.
	order []allocator.Owner
}

func newAdmission() admission {
	return admission{asks: map[ServiceID]int{}, noted: map[ServiceID]struct{}{}}
}

// note says for how many frontends a Service asks, and that this, or its age, may have changed.
func (a *admission) note(id ServiceID, frontends int) {
	a.sum += frontends - a.asks[id]
	a.noted[id] = struct{}{}
	delete(a.asks, id)
	if frontends > 0 {
		a.asks[id] = frontends
	}
}

// settle decides anew, if anything has changed, and returns the Services to whom that matters. As long as all fit it costs
// nothing.
func (a *admission) settle(b Bounds, owner func(ServiceID) allocator.Owner) []ServiceID {
	if len(a.noted) == 0 {
		return nil
	}
	before := a.leftOut
	a.leftOut = nil
	if b.Services > 0 && len(a.asks) > b.Services || b.VirtualServers > 0 && a.sum > b.VirtualServers {
		a.sort(owner)
		a.leftOut = a.beyond(b)
	} else {
		a.order = nil
	}
	a.noted = emptied(a.noted)
	var concerned []ServiceID
	for id, why := range before {
		if a.leftOut[id] != why {
			concerned = append(concerned, id)
		}
	}
	for id := range a.leftOut {
		if _, was := before[id]; !was {
			concerned = append(concerned, id)
		}
	}
	return concerned
}

// sort brings order up to date, which is quick where little has changed.
func (a *admission) sort(owner func(ServiceID) allocator.Owner) {
	if a.order == nil {
		for id := range a.asks {
			a.noted[id] = struct{}{}
		}
	}
	a.order = slices.DeleteFunc(a.order, func(o allocator.Owner) bool { _, noted := a.noted[o.ID]; return noted })
	for id := range a.noted {
		if a.asks[id] > 0 {
			a.order = append(a.order, owner(id))
		}
	}
	slices.SortFunc(a.order, allocator.Owner.Order)
}

// beyond are the Services that do not fit.
func (a *admission) beyond(b Bounds) map[ServiceID]excess {
	out := map[ServiceID]excess{}
	services, frontends, full := 0, 0, fits
	for _, o := range a.order {
		asks := a.asks[o.ID]
		switch {
		case b.VirtualServers > 0 && asks > b.VirtualServers:
			out[o.ID] = tooLarge
			continue
		case b.Services > 0 && services+1 > b.Services:
			full = tooManyServices
		case b.VirtualServers > 0 && frontends+asks > b.VirtualServers:
			full = tooManyVirtualServers
		}
		if full != fits {
			out[o.ID] = full
			continue
		}
		services++
		frontends += asks
	}
	return out
}

// frontendsOf counts the frontends among claims.
func frontendsOf(claims []allocator.Claim) int {
	n := 0
	for _, c := range claims {
		if c.Kind != allocator.HealthCheck {
			n++
		}
	}
	return n
}

// leftOutBecause says why Bounds leave a Service out; empty if they do not.
func (s *State) leftOutBecause(id ServiceID) string {
	const mend = "delete some of them, or allow more"
	switch s.admission.leftOut[id] {
	case tooManyServices:
		return fmt.Sprintf("this node serves the %d oldest Services (--max-services), and this is a newer one: %s", s.Bounds.Services, mend)
	case tooManyVirtualServers:
		return fmt.Sprintf("this node has %d virtual servers at most (--max-virtual-servers), and older Services have them: %s", s.Bounds.VirtualServers, mend)
	case tooLarge:
		return fmt.Sprintf("its ports on all addresses are more virtual servers than the %d that this node has at most (--max-virtual-servers): "+
			"give it fewer ports, let it choose fewer addresses (annotation kube-ipvs.io/networks), or allow more", s.Bounds.VirtualServers)
	}
	return ""
}

// boundProblem is that of a Service that Bounds leave out.
func (s *State) boundProblem(id ServiceID, why string) Problem {
	return Problem{Object: "Service " + id.String(), Reason: OverLimit, Skipped: true, Message: "none of its ports is served here: " + why}
}

// crowdProblems are those of a port with more endpoints than a virtual server may have.
func (s *State) crowdProblems(object string, port ServicePort, families Families) []Problem {
	most := s.Bounds.RealServers
	if most <= 0 || len(port.Endpoints) <= most {
		return nil
	}
	var found []Problem
	for family, addr := range map[Families]netip.Addr{IPv4: netip.IPv4Unspecified(), IPv6: netip.IPv6Unspecified()} {
		up := func(e *Endpoint) bool { return !e.Maintenance }
		if families&family == 0 || count(choose(port, addr).use, up) <= most {
			continue
		}
		found = append(found, Problem{
			Object: object, Reason: OverLimit,
			Message: fmt.Sprintf("%s %d/%s is served by %d of its %s endpoints, chosen by a hash of their addresses: a virtual server has no more on this node (--max-real-servers): "+
				"allow more, or let fewer be chosen (topology hints, externalTrafficPolicy: Local)", portWord(port), port.NodePort, port.Protocol, most, family),
		})
	}
	return found
}

// bound leaves a frontend that many real servers: those whose address and port have the lowest hash, so that an endpoint that
// comes or goes changes one of them, and nodes choose the same. Policies and hints have chosen before.
func (f *Frontend) bound(most int) {
	if most <= 0 || len(f.Entry.Reals) <= most {
		return
	}
	type candidate struct {
		hash uint64
		addr netip.AddrPort
	}
	all := make([]candidate, 0, len(f.Entry.Reals))
	for addr := range maps.Keys(f.Entry.Reals) {
		all = append(all, candidate{hashOf(addr), addr})
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.hash, b.hash), a.addr.Compare(b.addr)) })
	for _, c := range all[most:] {
		delete(f.Entry.Reals, c.addr)
	}
}

// hashOf is the 64-bit FNV-1a of an address and port, its bits mixed once more: FNV leaves neighbours near each other.
func hashOf(addr netip.AddrPort) uint64 {
	ip := addr.Addr().As16()
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint16(ip[:], addr.Port())) // it cannot fail
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// crowdOut takes back that endpoints of the family of addr get connections, of those that bound has left out.
func (f *Frontend) crowdOut(views []EndpointView, addr netip.Addr, most int) {
	if most <= 0 || len(f.Entry.Reals) < most {
		return
	}
	for i := range views {
		v := &views[i]
		if _, used := f.Entry.Reals[v.Addr]; !used && v.Use == GetsConnections && v.Addr.Addr().Is4() == addr.Is4() {
			v.Use, v.Why = NotUsed, fmt.Sprintf("one more than the %d that a virtual server has on this node (--max-real-servers)", most)
		}
	}
}
