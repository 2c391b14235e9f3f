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

// lag is how long after its virtual server a real server tells of the same traffic: the kernel sums counters up every two
// seconds, and since Linux 6.2 not those of all objects at the same moment.
const lag = 3 * time.Second

// candidate is a virtual server whose real servers are worth reading.
type candidate struct {
	key     frontend.Key
	service sync.ServiceID
	wished  bool
	// read is when they were last read.
	read time.Time
}

func (c candidate) compare(o candidate) int {
	if c.wished != o.wished {
		if c.wished {
			return -1
		}
		return 1
	}
	return cmp.Or(c.read.Compare(o.read), c.key.Compare(o.key))
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
			v.wasRead(m.at)
		case v.isKnown(m.at):
		case v.last == ipvs.Counters{}:
			for addr := range v.use {
				r := v.reals[addr]
				r.last, r.read = ipvs.Counters{}, true
			}
			v.wasRead(m.at)
		default:
			c := candidate{key: key, service: v.port.Service, read: v.read}
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

// isKnown reports that its real servers would tell nothing new.
func (v *virtual) isKnown(now time.Time) bool {
	if v.read.IsZero() || v.last != v.readAt || v.unread || v.inheritedReals {
		return false
	}
	// What was read too soon after its counters changed may have been without some of what made them change.
	soon := v.read.Sub(v.changed) < lag
	return !soon || now.Sub(v.changed) < lag
}

// wasRead remembers that the counters of its real servers are known.
func (v *virtual) wasRead(at time.Time) {
	v.readAt, v.read, v.inheritedReals, v.unread = v.last, at, false, false
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
	v.wasRead(m.at)
}
