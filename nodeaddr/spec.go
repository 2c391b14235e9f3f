package nodeaddr

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Spec says which addresses of a node the operator wants to serve: the value of --nodeport-addresses. The zero Spec
// selects nothing; ParseSpec makes all others. An address is selected if any entry selects it, so a family that no
// entry selects is not served.
type Spec struct {
	entries []entry
}

// entry is one entry of a Spec. It is comparable.
type entry struct {
	kind   kind
	prefix netip.Prefix // byPrefix: masked, never 4-in-6
	glob   string       // byInterface: a pattern of path.Match
}

type kind uint8

const (
	byPrefix kind = iota + 1
	byInterface
	byNode // the primary addresses of the Node object
	byAny
)

const interfaceMark = "iface:"

func (e entry) String() string {
	switch e.kind {
	case byInterface:
		return interfaceMark + e.glob
	case byNode:
		return "primary"
	case byAny:
		return "all"
	}
	return e.prefix.String()
}

func (e entry) selects(a Address, primary []netip.Addr) bool {
	switch e.kind {
	case byPrefix:
		return e.prefix.Contains(a.Addr)
	case byInterface:
		matched, err := path.Match(e.glob, a.Interface)
		return a.Interface != "" && matched && err == nil
	case byNode:
		return slices.Contains(primary, a.Addr)
	}
	return e.kind == byAny
}

// String is the canonical form, entries in the order given and separated by commas. ParseSpec reads it back.
func (s Spec) String() string {
	texts := make([]string, len(s.entries))
	for i, e := range s.entries {
		texts[i] = e.String()
	}
	return strings.Join(texts, ",")
}

// Equal reports whether both have the same entries in the same order.
func (s Spec) Equal(o Spec) bool { return slices.Equal(s.entries, o.entries) }

// UsesPrimary reports whether the result depends on the primary addresses, so that nothing can be said before the Node
// object is known.
func (s Spec) UsesPrimary() bool { return s.has(byNode) }

func (s Spec) has(k kind) bool {
	return slices.ContainsFunc(s.entries, func(e entry) bool { return e.kind == k })
}

// Rejected is an address that does not serve, and why, in words for people.
type Rejected struct {
	Address
	Reason string
}

// Select gives the addresses that serve, sorted and without repetition, and for all the others the reason why they do
// not, sorted too. Primary are the node's primary addresses; they count only if the spec says primary, and those that
// no interface has are rejected with that reason. An address that stands on several interfaces serves if one of them
// is selected. Select is pure and changes neither argument.
func (s Spec) Select(addrs []Address, primary []netip.Addr) ([]netip.Addr, []Rejected) {
	primary = normalise(primary)
	serving := map[netip.Addr]bool{}
	var rejected []Rejected
	for _, a := range addrs {
		if reason := s.reject(a, primary); reason != "" {
			rejected = append(rejected, Rejected{Address: a, Reason: reason})
			continue
		}
		serving[a.Addr] = true
	}
	for _, p := range primary {
		if s.UsesPrimary() && !slices.ContainsFunc(addrs, func(a Address) bool { return a.Addr == p }) {
			rejected = append(rejected, Rejected{
				Address: Address{Addr: p, PrefixLen: p.BitLen()},
				Reason:  "primary address of the Node object, but no interface of this host has it",
			})
		}
	}
	rejected = slices.DeleteFunc(rejected, func(r Rejected) bool { return serving[r.Addr] })
	slices.SortFunc(rejected, func(a, b Rejected) int { return a.Compare(b.Address) })
	return sortedKeys(serving), slices.Compact(rejected)
}

// reject is empty if a serves. That it was not selected comes first: "tentative" would make people wait for nothing.
func (s Spec) reject(a Address, primary []netip.Addr) string {
	selected := func(e entry) bool { return e.selects(a, primary) }
	switch {
	case slices.ContainsFunc(s.entries, selected):
		return a.Unusable()
	case a.Interface == "" && s.has(byInterface):
		return "not selected by --nodeport-addresses (its interface is not known, so no iface: entry can select it)"
	case len(primary) == 0 && s.UsesPrimary():
		return "not selected by --nodeport-addresses (no Node object says which address is primary)"
	}
	return "not selected by --nodeport-addresses"
}

func normalise(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.Unmap().WithZone(""))
	}
	return out
}

func sortedKeys(set map[netip.Addr]bool) []netip.Addr {
	keys := make([]netip.Addr, 0, len(set))
	for a := range set {
		keys = append(keys, a)
	}
	slices.SortFunc(keys, netip.Addr.Compare)
	return keys
}
