package filter

import (
	"maps"
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

// Rules is the content of the table, or a part of it.
type Rules struct {
	// Owned has the frontends whose virtual servers the agent made: these and no others may it change and delete.
	Owned Set
	// Masquerade has the frontends whose clients reach the real servers with an address of this node. Each of them
	// should be in Owned too.
	Masquerade Set
}

// Equal reports whether both hold the same frontends.
func (r Rules) Equal(o Rules) bool {
	return maps.Equal(r.Owned, o.Owned) && maps.Equal(r.Masquerade, o.Masquerade)
}

// Commit enters a change that the kernel has taken into r. The sets of r are changed in place, and made if they are nil.
func (r *Rules) Commit(c Change) {
	if r.Owned == nil {
		r.Owned = Set{}
	}
	if r.Masquerade == nil {
		r.Masquerade = Set{}
	}
	r.Owned.remove(c.DelOwned)
	r.Owned.add(c.AddOwned)
	r.Masquerade.remove(c.DelMasquerade)
	r.Masquerade.add(c.AddMasquerade)
}

// Change is what has to be written to get from one content of the table to another. Where a key is added and deleted,
// it is there in the end.
type Change struct {
	AddOwned, AddMasquerade []frontend.Key
	DelMasquerade, DelOwned []frontend.Key
}

// Diff is the smallest change that makes want of have. It is pure, and each of its lists is sorted.
func Diff(have, want Rules) Change {
	return Change{
		AddOwned:      want.Owned.minus(have.Owned),
		AddMasquerade: want.Masquerade.minus(have.Masquerade),
		DelMasquerade: have.Masquerade.minus(want.Masquerade),
		DelOwned:      have.Owned.minus(want.Owned),
	}
}

// Empty reports that nothing is to be written.
func (c Change) Empty() bool {
	return len(c.AddOwned)+len(c.AddMasquerade)+len(c.DelMasquerade)+len(c.DelOwned) == 0
}
