package sync

import (
	"maps"
	"net/netip"
	"reflect"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// memory is our part of the kernel's table as the kernel acknowledged it or showed it: never as it was wished. Where that
// comes to the same, it has the real servers in common with what was wished: most of a quiet node's memory are these sets.
type memory struct {
	table ipvs.Table
	reals int // real servers in all of table
	// shared are the entries whose real servers are not ours alone: they are copied before they change.
	shared keySet
}

func newMemory() memory { return memory{table: ipvs.Table{}, shared: keySet{}} }

// put records what the kernel showed under key.
func (m *memory) put(key frontend.Key, e ipvs.Entry) {
	known, there := m.table[key]
	if there && known.Equal(e) {
		return
	}
	m.reals += len(e.Reals) - len(known.Reals)
	m.table[key] = e
	delete(m.shared, key)
}

// drop records that the kernel has nothing under key.
func (m *memory) drop(key frontend.Key) {
	m.reals -= len(m.table[key].Reals)
	delete(m.table, key)
	delete(m.shared, key)
}

// share takes wished for the real servers under key if they are the same, and reports whether they are. From here on nobody
// may write to it.
func (m *memory) share(key frontend.Key, wished map[netip.AddrPort]ipvs.RealServer) bool {
	e, there := m.table[key]
	switch {
	case !there:
		return false
	case m.shared.has(key) && reflect.ValueOf(e.Reals).Pointer() == reflect.ValueOf(wished).Pointer():
		return true // nothing to be compared: it is the very same set
	case !maps.Equal(e.Reals, wished):
		return false
	}
	e.Reals = wished
	m.table[key] = e
	m.shared.add(key)
	return true
}

// create records that the kernel acknowledged a virtual server, which is about to have so many real servers: their set is
// not made anew as it grows.
func (m *memory) create(op ipvs.Op, about int) {
	m.drop(op.Key)
	m.table[op.Key] = ipvs.Entry{VirtualServer: op.Virtual, Reals: make(map[netip.AddrPort]ipvs.RealServer, about)}
}

// commit records any other operation that the kernel acknowledged.
func (m *memory) commit(op ipvs.Op) {
	if m.shared.has(op.Key) {
		if e, there := m.table[op.Key]; there {
			m.table[op.Key] = e.Clone()
		}
		delete(m.shared, op.Key)
	}
	before := len(m.table[op.Key].Reals)
	m.table.Commit(op)
	m.reals += len(m.table[op.Key].Reals) - before
}
