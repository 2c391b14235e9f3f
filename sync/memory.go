package sync

import (
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// memory is our part of the kernel's table as the kernel acknowledged it or showed it: never as it was wished.
type memory struct {
	table ipvs.Table
	reals int // real servers in all of table
}

// put records what the kernel showed under key.
func (m *memory) put(key frontend.Key, e ipvs.Entry) {
	m.reals += len(e.Reals) - len(m.table[key].Reals)
	m.table[key] = e
}

// drop records that the kernel has nothing under key.
func (m *memory) drop(key frontend.Key) {
	m.reals -= len(m.table[key].Reals)
	delete(m.table, key)
}

// commit records an operation that the kernel acknowledged.
func (m *memory) commit(op ipvs.Op) {
	before := len(m.table[op.Key].Reals)
	m.table.Commit(op)
	m.reals += len(m.table[op.Key].Reals) - before
}
