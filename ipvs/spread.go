package ipvs

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Spread puts p itself in another order: the real servers that are added to one virtual server stand by a hash of
// seed and their addresses, and everything else where it was. The schedulers begin at one end of the list that the kernel makes of the order of
// insertion, so nodes that all insert by address send their first clients to the same real server (kubernetes/kubernetes
// issue 121591); each node spreads with a seed of its own. Under sh, mh and dh, of which next tells, the order stays: it is
// part of what makes nodes agree on which client goes where.
func (p Plan) Spread(seed uint64, next Table) Plan {
	var ranks []ranked
	for begin := 0; begin < len(p); {
		end := begin + 1
		for end < len(p) && sameVirtual(&p[begin], &p[end]) {
			end++
		}
		if end-begin > 1 && !hashes(next[p[begin].Key].Scheduler) {
			ranks = ranks[:0]
			for _, op := range p[begin:end] {
				ranks = append(ranks, ranked{rank(seed, &op), op.RealKey, op.Real})
			}
			slices.SortStableFunc(ranks, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
			for i := range ranks {
				op := &p[begin+i]
				op.RealKey, op.Real = ranks[i].key, ranks[i].real
			}
		}
		begin = end
	}
	return p
}

// ranked is what the operations on one virtual server differ in, with its rank, which takes longer to find than to compare.
type ranked struct {
	rank uint64
	key  netip.AddrPort
	real RealServer
}

// sameVirtual reports whether two operations add real servers to one virtual server.
func sameVirtual(a, b *Op) bool { return a.Verb == AddReal && b.Verb == AddReal && a.Key == b.Key }

// hashes reports whether a scheduler chooses by an address.
func hashes(scheduler string) bool { return slices.Contains([]string{"sh", "mh", "dh"}, scheduler) }

// rank is the place of an operation's real server on the node with this seed: the 64-bit FNV-1a of both.
func rank(seed uint64, op *Op) uint64 {
	var text [8 + sizeAddrOnWire + 2]byte
	binary.BigEndian.PutUint64(text[:], seed)
	addr := op.RealKey.Addr().As16()
	copy(text[8:], addr[:])
	binary.BigEndian.PutUint16(text[8+sizeAddrOnWire:], op.RealKey.Port())
	hash := uint64(14695981039346656037)
	for _, b := range text {
		hash = (hash ^ uint64(b)) * 1099511628211
	}
	return hash
}
