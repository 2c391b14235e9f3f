package ipvs

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Table is a set of virtual servers with their real servers: a whole kernel table or any part of one.
type Table map[frontend.Key]Entry

// Clone is a copy that shares nothing with t.
func (t Table) Clone() Table {
	c := make(Table, len(t))
	for k, e := range t {
		c[k] = e.Clone()
	}
	return c
}

// Clone is a copy that shares nothing with e.
func (e Entry) Clone() Entry {
	e.Reals = maps.Clone(e.Reals)
	return e
}

// Equal reports whether both tables have the same entries; a nil and an empty set of real servers are the same.
func (t Table) Equal(o Table) bool { return maps.EqualFunc(t, o, Entry.Equal) }

// Equal reports whether both entries are configured alike.
func (e Entry) Equal(o Entry) bool {
	return e.VirtualServer == o.VirtualServer && maps.Equal(e.Reals, o.Reals)
}

// Serves reports whether some real server of e gets new connections.
func (e Entry) Serves() bool {
	for _, real := range e.Reals {
		if real.Weight > 0 {
			return true
		}
	}
	return false
}

// GoesOn reports whether some real server of e gets new connections now and in next too.
func (e Entry) GoesOn(next Entry) bool {
	for addr, real := range e.Reals {
		if real.Weight > 0 && next.Reals[addr].Weight > 0 {
			return true
		}
	}
	return false
}

// Only is the part of t under the given keys. Entries are shared, not copied.
func (t Table) Only(keys []frontend.Key) Table {
	part := make(Table, len(keys))
	for _, k := range keys {
		if e, ok := t[k]; ok {
			part[k] = e
		}
	}
	return part
}

// Virtuals is t without the real servers.
func (t Table) Virtuals() map[frontend.Key]VirtualServer {
	virtuals := make(map[frontend.Key]VirtualServer, len(t))
	for k, e := range t {
		virtuals[k] = e.VirtualServer
	}
	return virtuals
}

// Keys lists the virtual servers in the order of address, port and protocol.
func (t Table) Keys() []frontend.Key {
	keys := slices.AppendSeq(make([]frontend.Key, 0, len(t)), maps.Keys(t))
	slices.SortFunc(keys, frontend.Key.Compare)
	return keys
}

// RealKeys lists the real servers of e in the order of address and port.
func (e Entry) RealKeys() []netip.AddrPort {
	keys := slices.AppendSeq(make([]netip.AddrPort, 0, len(e.Reals)), maps.Keys(e.Reals))
	slices.SortFunc(keys, netip.AddrPort.Compare)
	return keys
}

// Validate joins everything that Key, VirtualServer and RealServer find wrong with the entries.
func (t Table) Validate() error {
	var errs []error
	for _, k := range t.Keys() {
		e := t[k]
		if err := k.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := e.Validate(k); err != nil {
			errs = append(errs, err)
		}
		for _, a := range e.RealKeys() {
			if err := e.Reals[a].Validate(k, a); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Commit records in t that the kernel has done op. It is how a table in memory follows the kernel: operation by
// operation, and only after the acknowledgement.
func (t Table) Commit(op Op) {
	e, known := t[op.Key]
	switch op.Verb {
	case AddVirtual:
		t[op.Key] = Entry{VirtualServer: op.Virtual, Reals: map[netip.AddrPort]RealServer{}}
	case SetVirtual:
		e.VirtualServer = op.Virtual
		t[op.Key] = e
	case DelVirtual:
		delete(t, op.Key)
	case AddReal, SetReal:
		if e.Reals == nil {
			e.Reals = map[netip.AddrPort]RealServer{}
			t[op.Key] = e
		}
		e.Reals[op.RealKey] = op.Real
	case DelReal:
		if known {
			delete(e.Reals, op.RealKey)
		}
	}
}
