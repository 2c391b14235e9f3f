package nodeaddr

import (
	"maps"
	"net/netip"
	"slices"
)

// table is what the kernel has told so far: interfaces by index and their addresses. Events change one entry each, so
// a burst of thousands costs no more than its events.
type table struct {
	links map[int32]string
	addrs map[addrKey]State
}

// addrKey is the kernel's identity of an address. One IPv4 address may stand on a link several times, with another
// prefix or peer each time.
type addrKey struct {
	link   int32
	prefix netip.Prefix
	peer   netip.Addr
}

func newTable() table {
	return table{links: map[int32]string{}, addrs: map[addrKey]State{}}
}

// event is one change that the kernel has told, or one entry of a listing.
type event interface {
	// apply brings the table up to date and reports whether that may have changed its addresses.
	apply(t table) bool
}

type linkAdded struct {
	index int32
	name  string
}

type linkGone struct{ index int32 }

type addrAdded struct {
	key   addrKey
	state State
}

type addrGone struct{ key addrKey }

func (e linkAdded) apply(t table) bool {
	if t.links[e.index] == e.name {
		return false
	}
	t.links[e.index] = e.name
	return t.hasAddress(e.index)
}

func (e linkGone) apply(t table) bool {
	changed := t.hasAddress(e.index)
	delete(t.links, e.index)
	maps.DeleteFunc(t.addrs, func(k addrKey, _ State) bool { return k.link == e.index })
	return changed
}

func (e addrAdded) apply(t table) bool {
	old, known := t.addrs[e.key]
	t.addrs[e.key] = e.state
	return !known || old != e.state
}

func (e addrGone) apply(t table) bool {
	_, changed := t.addrs[e.key]
	delete(t.addrs, e.key)
	return changed
}

// hasAddress is why links that come and go without addresses, as those of pods do, are no news.
func (t table) hasAddress(link int32) bool {
	for k := range t.addrs {
		if k.link == link {
			return true
		}
	}
	return false
}

// addresses is a sorted copy without repetition. An address whose interface is not known is left out: it was told while
// its link was on the way out, or the link's own event is about to follow.
func (t table) addresses() []Address {
	out := make([]Address, 0, len(t.addrs))
	for k, state := range t.addrs {
		if name, known := t.links[k.link]; known {
			out = append(out, Address{Addr: k.prefix.Addr(), PrefixLen: k.prefix.Bits(), Interface: name, State: state})
		}
	}
	slices.SortFunc(out, Address.Compare)
	return slices.Compact(out)
}
