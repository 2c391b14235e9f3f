package traffic

import (
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

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

// share is that of an endpoint, made if there is none.
func (t *tally) share(addr netip.AddrPort) *share {
	s := t.endpoints[addr]
	if s == nil {
		s = &share{}
		t.endpoints[addr] = s
	}
	return s
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

// port is what was counted for a Service port that is served. gone are the endpoints that are forgotten, for the kernel has them
// on no address any more.
func (t *tally) port(round uint64) (p Port, gone map[netip.AddrPort]Endpoint) {
	p = Port{Counters: t.sum, Endpoints: make(map[netip.AddrPort]Endpoint, len(t.endpoints))}
	for addr, s := range t.endpoints {
		if s.round != round {
			if gone == nil {
				gone = map[netip.AddrPort]Endpoint{}
			}
			gone[addr] = Endpoint{Counters: s.sum}
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
	return p, gone
}

// all is all that was ever counted for a Service port, and for the endpoints that it had last.
func (t *tally) all() Port {
	p := Port{Counters: t.sum, Endpoints: make(map[netip.AddrPort]Endpoint, len(t.endpoints))}
	for addr, s := range t.endpoints {
		p.Endpoints[addr] = Endpoint{Counters: s.sum}
	}
	return p
}
