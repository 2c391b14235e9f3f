package traffic

import (
	"cmp"
	"maps"
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
	// former is what was counted under names of Service ports on node ports that they have no more. Its values are not
	// written to.
	former map[portName]Port
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
	// reals are the real servers that it has, or had. One stays as long as its endpoint is known, for what was missing from
	// one reading may only have been overlooked.
	reals map[netip.AddrPort]*real
	// use is what they are doing in this round.
	use map[netip.AddrPort]ipvs.RealUse
	// readAt are its own counters just before its real servers were last read, readRound is when, 0 for never.
	readAt    ipvs.Counters
	readRound uint64
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
	return &memory{virtuals: map[frontend.Key]*virtual{}, tallies: map[sync.PortRef]*tally{}, former: map[portName]Port{}}
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
	m.forgetPorts()
}

// forgetPorts forgets those that are served no more. While a name lives on with another node port, what was counted under it
// stays: it must not fall.
func (m *memory) forgetPorts() {
	names := map[portName]struct{}{}
	for ref, t := range m.tallies {
		if t.round == m.round {
			names[nameOf(ref)] = struct{}{}
		}
	}
	for ref, t := range m.tallies {
		if t.round != m.round {
			name := nameOf(ref)
			m.former[name] = join(m.former[name], t.formerPort())
			delete(m.tallies, ref)
		}
	}
	for name := range m.former {
		if _, lives := names[name]; !lives {
			delete(m.former, name)
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

// move gives its real servers over to another Service port. What they counted for the former one stays behind.
func (v *virtual) move(t *tally) {
	for addr, r := range v.reals {
		r.share = t.share(addr)
	}
}

// share is that of an endpoint, made if there is none.
func (t *tally) share(addr netip.AddrPort) *share {
	s := t.endpoints[addr]
	if s == nil {
		s = &share{}
		t.endpoints[addr] = s
	}
	return s
}

// meet takes in which real servers there are, and what they are doing.
func (m *memory) meet(all uses, serving map[frontend.Key]sync.Served) {
	for key, v := range m.virtuals {
		v.use, v.unread = all[key], false
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

// meet takes in what the endpoint is doing on one more address.
func (s *share) meet(round uint64, u ipvs.RealUse, draining bool) {
	if s.round != round {
		s.round, s.unread = round, false
		s.now = Endpoint{Draining: true}
	}
	s.now.Active += uint64(u.Active)
	s.now.Inactive += uint64(u.Inactive)
	s.now.Weight = max(s.now.Weight, u.Weight)
	s.now.Draining = s.now.Draining && draining
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
func (m *memory) choose(wished map[sync.ServiceID]struct{}, limit int) (read, waiting []candidate) {
	var all []candidate
	urgent := 0
	for key, v := range m.virtuals {
		switch {
		case !v.present || len(v.use) == 0:
		case v.readRound > 0 && v.last == v.readAt && !v.unread && !v.inheritedReals:
		case v.last == ipvs.Counters{}:
			for addr := range v.use {
				r := v.reals[addr]
				r.last, r.read = ipvs.Counters{}, true
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
	v.readAt, v.readRound, v.inheritedReals, v.unread = v.last, round, false, false
}

// countReals adds what the real servers of a virtual server have counted since they were last read.
func (m *memory) countReals(key frontend.Key, reals map[netip.AddrPort]ipvs.RealStats) {
	v := m.virtuals[key]
	for addr, stats := range reals {
		r := v.reals[addr]
		if r == nil {
			// It came after the list of all was read: the next round knows it.
			continue
		}
		if !v.inheritedReals || r.read && restarted(stats.Counters, r.last) {
			r.share.sum = plus(r.share.sum, since(stats.Counters, r.last))
		}
		r.last, r.read = stats.Counters, true
	}
	v.wasRead(m.round)
}

// sample is what was counted up to this round. Endpoints that the kernel has on no address of their port any more are
// forgotten.
func (m *memory) sample(at time.Time) Sample {
	for _, v := range m.virtuals {
		if v.unread {
			for addr := range v.use {
				r := v.reals[addr]
				r.share.unread = r.share.unread || !r.read
			}
		}
		v.use = nil
		for addr, r := range v.reals {
			if r.share.round != m.round {
				delete(v.reals, addr)
			}
		}
	}
	out := Sample{Time: at, Ports: make(map[sync.PortRef]Port, len(m.tallies)), former: maps.Clone(m.former)}
	for ref, t := range m.tallies {
		out.Ports[ref] = t.port(m.round)
	}
	return out
}

// port is what was counted for a Service port that is served.
func (t *tally) port(round uint64) Port {
	p := Port{Counters: t.sum, Endpoints: make(map[netip.AddrPort]Endpoint, len(t.endpoints))}
	for addr, s := range t.endpoints {
		if s.round != round {
			delete(t.endpoints, addr)
			continue
		}
		s.counted = s.counted || !s.unread
		e := s.now
		if e.Counted = s.counted; e.Counted {
			e.Counters = s.sum
		}
		p.Active += e.Active
		p.Inactive += e.Inactive
		p.Endpoints[addr] = e
	}
	return p
}

// formerPort is what was counted for one that is served no more.
func (t *tally) formerPort() Port {
	p := Port{Counters: t.sum, Endpoints: make(map[netip.AddrPort]Endpoint, len(t.endpoints))}
	for addr, s := range t.endpoints {
		p.Endpoints[addr] = Endpoint{Counters: s.sum, Counted: s.counted}
	}
	return p
}
