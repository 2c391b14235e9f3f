package filter

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Set is a set of frontends. A nil Set is empty and can be read.
type Set map[frontend.Key]struct{}

// NewSet is the set of keys.
func NewSet(keys ...frontend.Key) Set {
	s := make(Set, len(keys))
	s.add(keys)
	return s
}

// Has reports whether key is in the set.
func (s Set) Has(key frontend.Key) bool {
	_, ok := s[key]
	return ok
}

// Keys lists the set in the order of frontend.Key.Compare.
func (s Set) Keys() []frontend.Key { return slices.SortedFunc(maps.Keys(s), frontend.Key.Compare) }

func (s Set) add(keys []frontend.Key) {
	for _, key := range keys {
		s[key] = struct{}{}
	}
}

func (s Set) remove(keys []frontend.Key) {
	for _, key := range keys {
		delete(s, key)
	}
}

// minus lists what s has and o has not, in order.
func (s Set) minus(o Set) []frontend.Key {
	var keys []frontend.Key
	for key := range s {
		if !o.Has(key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, frontend.Key.Compare)
	return keys
}

// Masquerade says which clients of a frontend reach its real servers with an address of this node, so that the replies
// come back through it. Each covers those before it.
type Masquerade uint8

// Nobody; clients that are pods of this node, whose replies would go straight from pod to pod; those and all clients whose
// real server is not a pod of this node; everybody.
const (
	MasqueradeNone Masquerade = iota
	MasqueradePods
	MasqueradeRemote
	MasqueradeAll
)

// masquerades are those that are written.
func masquerades() []Masquerade { return []Masquerade{MasqueradePods, MasqueradeRemote, MasqueradeAll} }

// String is "none", "pods", "remote" or "all".
func (m Masquerade) String() string {
	if names := [...]string{"none", "pods", "remote", "all"}; int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("masquerade(%d)", uint8(m))
}

// Rules is the content of the table, or a part of it.
type Rules struct {
	// Owned has the frontends whose virtual servers the agent made: these and no others may it change and delete. Each
	// key of Masquerade, Internal and Sources should be in it too.
	Owned Set
	// Masquerade has the frontends of which some clients are masqueraded; never MasqueradeNone.
	Masquerade map[frontend.Key]Masquerade
	// Internal has the frontends that take new connections from this node and its pods only. Those of everybody else
	// are dropped; connections that are there already live on.
	Internal Set
	// Sources has the frontends of which not every client may connect, and which may; never nil.
	Sources map[frontend.Key]*Sources
	// Pods are the networks of this node's pods, in the order of netip.Prefix.Compare, none of them within another. They
	// count only in a table that was not told an interface (Options.PodInterface). With MasqueradeRemote they must be of
	// this node alone: a pod elsewhere within them would see the client and answer past this node.
	Pods []netip.Prefix
	// Away: an address of a frontend is not on this node for now. What is sent to it on a connection that IPVS has translated is
	// dropped instead of forwarded: the kernel forgets a masqueraded connection of which it sees a packet leave by another
	// device than the one that it is masqueraded for (nf_nat_oif_changed), and its pod resets it then.
	Away bool
}

// Equal reports whether both are the same.
func (r Rules) Equal(o Rules) bool {
	return maps.Equal(r.Owned, o.Owned) && maps.Equal(r.Masquerade, o.Masquerade) && maps.Equal(r.Internal, o.Internal) &&
		maps.EqualFunc(r.Sources, o.Sources, (*Sources).Equal) && slices.Equal(r.Pods, o.Pods) && r.Away == o.Away
}

// Clone is a copy that shares nothing with r but what never changes.
func (r Rules) Clone() Rules {
	return Rules{
		Owned: maps.Clone(r.Owned), Masquerade: maps.Clone(r.Masquerade), Internal: maps.Clone(r.Internal),
		Sources: maps.Clone(r.Sources), Pods: slices.Clone(r.Pods),
		Away: r.Away,
	}
}

// OfOwned is r without what it says of frontends that are not owned.
func (r Rules) OfOwned() Rules {
	ours := r.Clone()
	maps.DeleteFunc(ours.Masquerade, func(key frontend.Key, _ Masquerade) bool { return !r.Owned.Has(key) })
	maps.DeleteFunc(ours.Internal, func(key frontend.Key, _ struct{}) bool { return !r.Owned.Has(key) })
	maps.DeleteFunc(ours.Sources, func(key frontend.Key, _ *Sources) bool { return !r.Owned.Has(key) })
	return ours
}

// Commit enters a change that the kernel has taken into r. The sets of r are changed in place, and made if they are nil.
func (r *Rules) Commit(c Change) {
	r.init()
	r.Owned.remove(c.DelOwned)
	r.Owned.add(c.AddOwned)
	r.Internal.remove(c.DelInternal)
	r.Internal.add(c.AddInternal)
	for _, m := range c.Masquerade {
		if m.Is == MasqueradeNone {
			delete(r.Masquerade, m.Key)
		} else {
			r.Masquerade[m.Key] = m.Is
		}
	}
	for _, s := range c.Sources {
		if s.Is == nil {
			delete(r.Sources, s.Key)
		} else {
			r.Sources[s.Key] = s.Is
		}
	}
	if c.SetPods {
		r.Pods = slices.Clone(c.Pods)
	}
	if c.SetAway {
		r.Away = c.Away
	}
}

func (r *Rules) init() {
	if r.Owned == nil {
		r.Owned = Set{}
	}
	if r.Masquerade == nil {
		r.Masquerade = map[frontend.Key]Masquerade{}
	}
	if r.Internal == nil {
		r.Internal = Set{}
	}
	if r.Sources == nil {
		r.Sources = map[frontend.Key]*Sources{}
	}
}

// NormalPrefixes is a list of prefixes as Rules has it: sorted, without bits behind their length, none within another.
func NormalPrefixes(list []netip.Prefix) []netip.Prefix {
	var normal []netip.Prefix
	for _, p := range list {
		normal = append(normal, p.Masked())
	}
	slices.SortFunc(normal, netip.Prefix.Compare) // a shorter prefix comes before those within it
	var last netip.Prefix
	return slices.DeleteFunc(normal, func(p netip.Prefix) bool {
		within := last.IsValid() && last.Bits() <= p.Bits() && last.Contains(p.Addr())
		if !within {
			last = p
		}
		return within
	})
}
