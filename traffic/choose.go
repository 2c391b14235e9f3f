package traffic

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// candidate is a virtual server whose real servers are worth reading.
type candidate struct {
	key     frontend.Key
	service sync.ServiceID
	wished  bool
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
		case !v.present:
		case len(v.use) == 0:
			v.wasRead(m.round)
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
