package traffic

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// memory is what is known from one round of reading to the next. It is pure: a round hands it what was read, in the order of
// the methods below.
type memory struct {
	round    uint64
	virtuals map[frontend.Key]*virtual
	tallies  map[sync.PortRef]*tally
}

// uses are the weights and connections of real servers.
type uses = map[frontend.Key]map[netip.AddrPort]ipvs.RealUse

// virtual is a virtual server of ours.
type virtual struct {
	port sync.PortRef
	// last are its counters when it was last seen.
	last ipvs.Counters
	// present: it was seen in this round.
	present bool
	// inherited and inheritedReals: it served another Service port when it, or its real servers, were last looked at. What
	// it has counted until it is looked at again is nobody's.
	inherited, inheritedReals bool
	// reals are the counters of its real servers when they were last read. One stays as long as its endpoint is known, for
	// what was missing from one reading may only have been overlooked.
	reals map[netip.AddrPort]ipvs.Counters
	// readAt are its own counters just before its real servers were last read, readRound is when, 0 for never.
	readAt    ipvs.Counters
	readRound uint64
	// unread: one of the real servers that it has in this round has never been read.
	unread bool
}

// tally is what was counted for a Service port.
type tally struct {
	sum       ipvs.Counters
	endpoints map[netip.AddrPort]*share
	// round is the last one in which it was served.
	round uint64
}

// share is what was counted for an endpoint of a Service port.
type share struct {
	sum ipvs.Counters
	// counted: it was read on each address that it was behind when it was first so.
	counted bool
	// round is the last one in which the kernel had it; now is what it had then, unread is that some address has not been
	// read.
	round  uint64
	now    Endpoint
	unread bool
}

func newMemory() *memory {
	return &memory{virtuals: map[frontend.Key]*virtual{}, tallies: map[sync.PortRef]*tally{}}
}

// begin starts a round with what is served now. A virtual server that is served no more is forgotten; what it counted stays
// with its Service port.
func (m *memory) begin(serving map[frontend.Key]sync.Served) {
	m.round++
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
			v = &virtual{port: s.PortRef, reals: map[netip.AddrPort]ipvs.Counters{}}
			m.virtuals[key] = v
		}
		v.present = false
		if v.port != s.PortRef {
			v.port, v.inherited, v.inheritedReals = s.PortRef, true, true
		}
	}
	for key := range m.virtuals {
		if _, served := serving[key]; !served {
			delete(m.virtuals, key)
		}
	}
	m.forgetPorts()
}

// forgetPorts forgets those that are served no more. One whose name lives on, on another node port, stays as a part of what
// was counted under that name.
func (m *memory) forgetPorts() {
	names := map[portName]struct{}{}
	for ref, t := range m.tallies {
		if t.round == m.round {
			names[nameOf(ref)] = struct{}{}
		}
	}
	for ref := range m.tallies {
		if _, lives := names[nameOf(ref)]; !lives {
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
		v.last, v.present, v.inherited = now, true, false
	}
}

// meet takes in which real servers there are, and what they are doing.
func (m *memory) meet(use uses, serving map[frontend.Key]sync.Served) {
	for key, v := range m.virtuals {
		v.unread = false
		leaving := serving[key].Draining
		endpoints := m.tallies[v.port].endpoints
		for addr, u := range use[key] {
			s := endpoints[addr]
			if s == nil {
				s = &share{}
				endpoints[addr] = s
			}
			if s.round != m.round {
				s.round, s.now, s.unread = m.round, Endpoint{Draining: true}, false
			}
			_, draining := leaving[addr]
			s.now.Active += uint64(u.Active)
			s.now.Inactive += uint64(u.Inactive)
			s.now.Weight = max(s.now.Weight, u.Weight)
			s.now.Draining = s.now.Draining && draining
			if _, read := v.reals[addr]; !read {
				v.unread = true
			}
		}
	}
	m.forgetEndpoints()
}

// forgetEndpoints forgets those that the kernel has on no address of their port any more.
func (m *memory) forgetEndpoints() {
	fewer := map[sync.PortRef]struct{}{}
	for ref, t := range m.tallies {
		if t.round != m.round {
			continue
		}
		for addr, s := range t.endpoints {
			if s.round != m.round {
				delete(t.endpoints, addr)
				fewer[ref] = struct{}{}
			}
		}
	}
	if len(fewer) == 0 {
		return
	}
	for _, v := range m.virtuals {
		if _, ok := fewer[v.port]; !ok {
			continue
		}
		for addr := range v.reals {
			if _, known := m.tallies[v.port].endpoints[addr]; !known {
				delete(v.reals, addr)
			}
		}
	}
}

// candidate is a virtual server whose real servers are worth reading.
type candidate struct {
	key    frontend.Key
	service sync.ServiceID
	wished bool
	// round is when they were last read.
	round uint64
}

func (c candidate) compare(o candidate) int {
	if c.wished != o.wished {
		if c.wished {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(c.round, o.round), c.key.Compare(o.key))
}

// choose says the real servers of which virtual servers should be read: those of wished Services, then those that were not
// read for longest, limit at most unless more are wished. The others wait for another round. Those of a virtual server that
// has counted nothing since they were read have not either, and one that has never counted anything answers for them.
func (m *memory) choose(use uses, wished map[sync.ServiceID]struct{}, limit int) (read, waiting []candidate) {
	var all []candidate
	urgent := 0
	for key, v := range m.virtuals {
		switch {
		case !v.present || len(use[key]) == 0:
		case v.readRound > 0 && v.last == v.readAt && !v.unread && !v.inheritedReals:
		case v.last == ipvs.Counters{}:
			for addr := range use[key] {
				v.reals[addr] = ipvs.Counters{}
			}
			v.wasRead(m.round)
		default:
			c := candidate{key: key, service: v.port.Service, round: v.readRound}
			if _, c.wished = wished[c.service]; c.wished {
				urgent++
			}
			all = append(all, c)
		}
	}
	slices.SortFunc(all, candidate.compare)
	n := min(len(all), max(limit, urgent))
	return all[:n], all[n:]
}

// wasRead remembers that the counters of its real servers are known.
func (v *virtual) wasRead(round uint64) {
	v.readAt, v.readRound, v.inheritedReals = v.last, round, false
}

// countReals adds what the real servers of a virtual server have counted since they were last read.
func (m *memory) countReals(key frontend.Key, reals map[netip.AddrPort]ipvs.RealStats) {
	v := m.virtuals[key]
	endpoints := m.tallies[v.port].endpoints
	for addr, real := range reals {
		s := endpoints[addr]
		if s == nil {
			// It came after the list of all was read: the next round knows it.
			continue
		}
		last, known := v.reals[addr]
		if !v.inheritedReals || known && restarted(real.Counters, last) {
			s.sum = plus(s.sum, since(real.Counters, last))
		}
		v.reals[addr] = real.Counters
	}
	v.wasRead(m.round)
}

// sample is what was counted up to this round.
func (m *memory) sample(at time.Time, use uses) Sample {
	for key, v := range m.virtuals {
		for addr := range use[key] {
			if _, read := v.reals[addr]; !read {
				m.tallies[v.port].endpoints[addr].unread = true
			}
		}
	}
	out := Sample{Time: at, Ports: make(map[sync.PortRef]Port, len(m.tallies))}
	for ref, t := range m.tallies {
		p := Port{Counters: t.sum, Endpoints: make(map[netip.AddrPort]Endpoint, len(t.endpoints))}
		for addr, s := range t.endpoints {
			s.counted = s.counted || !s.unread
			e := s.now
			if e.Counted = s.counted; e.Counted {
				e.Counters = s.sum
			}
			p.Active += e.Active
			p.Inactive += e.Inactive
			p.Endpoints[addr] = e
		}
		if t.round == m.round {
			out.Ports[ref] = p
			continue
		}
		if out.former == nil {
			out.former = map[sync.PortRef]Port{}
		}
		out.former[ref] = p
	}
	return out
}
