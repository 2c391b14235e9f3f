package ipvs

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
)

// Spread orders the real servers that are added to one virtual server by a hash of seed and their addresses, and leaves
// everything else where it is. The schedulers begin at one end of the list that the kernel makes of the order of
// insertion, so nodes that all insert by address send their first clients to the same real server (kubernetes/kubernetes
// issue 121591); each node spreads with a seed of its own. Under sh, mh and dh, of which next tells, the order stays: it is
// part of what makes nodes agree on which client goes where.
func (p Plan) Spread(seed uint64, next Table) Plan {
	spread := slices.Clone(p)
	for begin := 0; begin < len(spread); {
		end := begin + 1
		for end < len(spread) && sameVirtual(spread[begin], spread[end]) {
			end++
		}
		if end-begin > 1 && !hashes(next[spread[begin].Key].Scheduler) {
			slices.SortStableFunc(spread[begin:end], func(a, b Op) int { return cmp.Compare(rank(seed, a), rank(seed, b)) })
		}
		begin = end
	}
	return spread
}

// sameVirtual reports whether two operations add real servers to one virtual server.
func sameVirtual(a, b Op) bool { return a.Verb == AddReal && b.Verb == AddReal && a.Key == b.Key }

// hashes reports whether a scheduler chooses by an address.
func hashes(scheduler string) bool { return slices.Contains([]string{"sh", "mh", "dh"}, scheduler) }

// rank is the place of an operation's real server on the node with this seed.
func rank(seed uint64, op Op) uint64 {
	addr := op.RealKey.Addr().As16()
	text := binary.BigEndian.AppendUint64(nil, seed)
	text = append(text, addr[:]...)
	text = binary.BigEndian.AppendUint16(text, op.RealKey.Port())
	h := fnv.New64a()
	_, _ = h.Write(text)
	return h.Sum64()
}
