package traffic

import (
	"maps"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// memory is what is known from one round of reading to the next. It is pure: a round hands it what was read, in the order of
// the methods below.
type memory struct {
	round    uint64
	at       time.Time
	virtuals map[frontend.Key]*virtual
	tallies  map[sync.PortRef]*tally
	former   formers
}

// uses are the weights and connections of real servers.
type uses = map[frontend.Key]map[netip.AddrPort]ipvs.RealUse

// virtual is a virtual server of ours.
type virtual struct {
	port sync.PortRef
	// last are its counters when it was last seen, changed is when they were first seen to be these.
	last    ipvs.Counters
	changed time.Time
	// present: it was seen in this round.
	present bool
	// inherited and inheritedReals: it served another Service port when it, or its real servers, were last looked at. What
	// it has counted until it is looked at again is nobody's.
	inherited, inheritedReals bool
	// reals are the real servers that it has, or had. One stays as long as its endpoint is known, for what was missing from
	// one reading may only have been overlooked.
	reals map[netip.AddrPort]*real
	// use is what they are doing in this round, or were in the last one: overlooked.
	use        map[netip.AddrPort]ipvs.RealUse
	overlooked bool
	// readAt are its own counters just before its real servers were last read, read is when; zero is never.
	readAt ipvs.Counters
	read   time.Time
	// unread: one of the real servers that it has in this round has never been read.
	unread bool
}

// real is a real server.
type real struct {
	share *share
	// last are its counters when they were last read, if they were.
	last ipvs.Counters
	read bool
}

func newMemory() *memory {
	return &memory{virtuals: map[frontend.Key]*virtual{}, tallies: map[sync.PortRef]*tally{}, former: formers{}}
}

// begin starts a round with what is served now. A virtual server that is served no more is forgotten; what it counted stays
// with its Service port, as long as that is served.
func (m *memory) begin(at time.Time, serving map[frontend.Key]sync.Served) {
	m.round++
	m.at = at
	for key, s := range serving {
		if s.Service == (sync.ServiceID{}) {
			// It was left behind by an earlier process for a Service that is not known (yet).
			delete(m.virtuals, key)
			continue
		}
		t := m.tallies[s.PortRef]
		if t == nil {
			t = &tally{endpoints: map[netip.AddrPort]*share{}}
			m.tallies[s.PortRef] = t
		}
		t.round = m.round
		v := m.virtuals[key]
		if v == nil {
			v = &virtual{port: s.PortRef, reals: map[netip.AddrPort]*real{}}
			m.virtuals[key] = v
		}
		v.present = false
		if v.port != s.PortRef {
			v.port, v.inherited, v.inheritedReals = s.PortRef, true, true
			v.move(t)
		}
	}
	for key := range m.virtuals {
		if _, served := serving[key]; !served {
			delete(m.virtuals, key)
		}
	}
	for ref, t := range m.tallies {
		if t.round != m.round {
			m.former.add(nameOf(ref), t.all())
			delete(m.tallies, ref)
		}
	}
}

// count adds what the virtual servers have counted since they were last seen.
func (m *memory) count(counters map[frontend.Key]ipvs.Counters) {
	for key, v := range m.virtuals {
		now, exists := counters[key]
		if !exists {
			continue
		}
		fresh := restarted(now, v.last)
		if fresh {
			// Its real servers were made with it.
			v.inheritedReals = false
			clear(v.reals)
		}
		if fresh || !v.inherited {
			t := m.tallies[v.port]
			t.sum = plus(t.sum, since(now, v.last))
		}
		if now != v.last {
			v.changed = m.at
		}
		v.last, v.present, v.inherited = now, true, false
	}
}

// move gives its real servers over to another Service port. What they counted for the former one stays behind.
func (v *virtual) move(t *tally) {
	for addr, r := range v.reals {
		r.share = t.share(addr)
	}
}

// meet takes in what its real servers are doing. The list of all is no snapshot: a virtual server may not be in it that is
// there, with real servers as before.
func (v *virtual) meet(use map[netip.AddrPort]ipvs.RealUse) {
	v.unread = false
	if use == nil && v.present && !v.overlooked {
		v.overlooked = true
		return
	}
	v.use, v.overlooked = use, false
}

// meet takes in which real servers there are, and what they are doing.
func (m *memory) meet(all uses, serving map[frontend.Key]sync.Served) {
	for key, v := range m.virtuals {
		v.meet(all[key])
		leaving := serving[key].Draining
		for addr, u := range v.use {
			r := v.reals[addr]
			if r == nil {
				r = &real{share: m.tallies[v.port].share(addr)}
				v.reals[addr] = r
			}
			_, draining := leaving[addr]
			r.share.meet(m.round, u, draining)
			v.unread = v.unread || !r.read
		}
	}
}

// sample is what was counted up to this round. Endpoints that the kernel has on no address of their port any more are
// forgotten.
func (m *memory) sample() Sample {
	for _, v := range m.virtuals {
		if v.unread {
			for addr := range v.use {
				r := v.reals[addr]
				r.share.unread = r.share.unread || !r.read
			}
		}
		for addr, r := range v.reals {
			if r.share.round != m.round {
				delete(v.reals, addr)
			}
		}
	}
	out := Sample{Time: m.at, Ports: make(map[sync.PortRef]Port, len(m.tallies))}
	for ref, t := range m.tallies {
		p, gone := t.port(m.round)
		out.Ports[ref] = p
		if gone != nil {
			m.former.add(nameOf(ref), Port{Endpoints: gone})
		}
	}
	m.former.keep(out.Ports)
	out.former = maps.Clone(m.former)
	return out
}
