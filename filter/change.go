package filter

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// MasqueradeChange is another masquerade for one frontend.
type MasqueradeChange struct {
	Key     frontend.Key
	Was, Is Masquerade
}

// SourcesChange is another list of clients for one frontend; nil is none, so that everybody may connect.
type SourcesChange struct {
	Key     frontend.Key
	Was, Is *Sources
}

// ListsChange are the lists that get their first reference, or lose their last one. Each is named once, in the order of
// their IDs.
type ListsChange struct{ Add, Del []*Sources }

// Change is what has to be written to get from one content of the table to another. Where a key is added and deleted,
// it is there in the end.
type Change struct {
	AddOwned, DelOwned       []frontend.Key
	AddInternal, DelInternal []frontend.Key
	Masquerade               []MasqueradeChange
	Sources                  []SourcesChange
	// Lists are the lists that Sources needs and leaves behind. Diff and Rules.Complete know them, and Apply refuses
	// Sources without them.
	Lists *ListsChange
	// Hooks are those that Internal, Sources and Away need. Diff and Rules.Complete know them too, and Apply refuses any of these
	// without them.
	Hooks *HooksChange
	// Pods are all networks of pods from now on, if SetPods. nft cannot add one in the transaction that deletes another
	// which overlaps it.
	Pods    []netip.Prefix
	SetPods bool
	// Away is what Rules.Away is from now on, if SetAway.
	Away, SetAway bool
}

// Diff is the smallest change that makes want of have. It is pure, and each of its lists is sorted.
func Diff(have, want Rules) Change {
	c := Change{
		AddOwned: want.Owned.minus(have.Owned), DelOwned: have.Owned.minus(want.Owned),
		AddInternal: want.Internal.minus(have.Internal), DelInternal: have.Internal.minus(want.Internal),
	}
	if !slices.Equal(have.Pods, want.Pods) {
		c.Pods, c.SetPods = want.Pods, true
	}
	if have.Away != want.Away {
		c.Away, c.SetAway = want.Away, true
	}
	for key, is := range want.Masquerade {
		if was := have.Masquerade[key]; was != is {
			c.Masquerade = append(c.Masquerade, MasqueradeChange{Key: key, Was: was, Is: is})
		}
	}
	for key, was := range have.Masquerade {
		if want.Masquerade[key] == MasqueradeNone {
			c.Masquerade = append(c.Masquerade, MasqueradeChange{Key: key, Was: was})
		}
	}
	slices.SortFunc(c.Masquerade, func(a, b MasqueradeChange) int { return a.Key.Compare(b.Key) })
	for key, is := range want.Sources {
		if was := have.Sources[key]; !was.Equal(is) {
			c.Sources = append(c.Sources, SourcesChange{Key: key, Was: was, Is: is})
		}
	}
	for key, was := range have.Sources {
		if _, stays := want.Sources[key]; !stays {
			c.Sources = append(c.Sources, SourcesChange{Key: key, Was: was})
		}
	}
	slices.SortFunc(c.Sources, func(a, b SourcesChange) int { return a.Key.Compare(b.Key) })
	return have.Complete(c)
}

// Complete is a change of r with its Lists and Hooks: those that no frontend of r has yet are made, and those that none has
// any more are removed. A change that is put together by hand is completed when it is whole, with the rules it will be
// committed to.
func (r Rules) Complete(c Change) Change {
	c.Lists, c.Hooks = nil, nil
	if c.needsHooks() {
		hooks := r.hooksAround(c)
		c.Hooks = &hooks
	}
	if len(c.Sources) == 0 {
		return c
	}
	before, after := map[frontend.Key]*Sources{}, map[frontend.Key]*Sources{}
	for _, s := range c.Sources {
		before[s.Key], after[s.Key] = r.Sources[s.Key], s.Is
	}
	had, has := listsOf(before), listsOf(after)
	gained := without(has, had)
	lost := without(had, has)
	for key, s := range r.Sources {
		if len(gained)+len(lost) == 0 {
			break // soon, where many frontends have the same list: there may be thousands
		}
		if _, changes := after[key]; !changes {
			delete(gained, s.ID())
			delete(lost, s.ID())
		}
	}
	c.Lists = &ListsChange{Add: inOrder(gained), Del: inOrder(lost)}
	return c
}

// listsOf has each list once, by its ID.
func listsOf(sources map[frontend.Key]*Sources) map[string]*Sources {
	lists := map[string]*Sources{}
	for _, s := range sources {
		if s != nil {
			lists[s.id] = s
		}
	}
	return lists
}

// without are those of lists that others lack.
func without(lists, others map[string]*Sources) map[string]*Sources {
	rest := maps.Clone(lists)
	maps.DeleteFunc(rest, func(id string, _ *Sources) bool { return others[id] != nil })
	return rest
}

// inOrder are lists in the order of their IDs.
func inOrder(lists map[string]*Sources) []*Sources {
	var list []*Sources
	for _, id := range slices.Sorted(maps.Keys(lists)) {
		list = append(list, lists[id])
	}
	return list
}

// restricts reports that the change is about who may connect.
func (c Change) restricts() bool { return len(c.AddInternal)+len(c.DelInternal)+len(c.Sources) > 0 }

// needsHooks reports that the hooks may be others after the change.
func (c Change) needsHooks() bool { return c.restricts() || c.SetAway }

// narrows reports that somebody may be kept out by it who was not, or by another list than before.
func (c Change) narrows() bool {
	return len(c.AddInternal) > 0 || slices.ContainsFunc(c.Sources, func(s SourcesChange) bool { return s.Is != nil })
}

// Empty reports that nothing is to be written.
func (c Change) Empty() bool {
	return len(c.AddOwned)+len(c.DelOwned)+len(c.AddInternal)+len(c.DelInternal)+len(c.Masquerade)+len(c.Sources) == 0 && !c.SetPods && !c.SetAway
}

// Keys are the frontends that the change is about, some of them more than once.
func (c Change) Keys() []frontend.Key {
	keys := slices.Concat(c.AddOwned, c.DelOwned, c.AddInternal, c.DelInternal)
	for _, m := range c.Masquerade {
		keys = append(keys, m.Key)
	}
	for _, s := range c.Sources {
		keys = append(keys, s.Key)
	}
	return keys
}

// validate names everything that cannot be written.
func (c Change) validate() []error {
	var errs []error
	for _, key := range c.Keys() {
		if err := key.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("frontend %s: %w", key, err))
		}
	}
	for _, m := range c.Masquerade {
		if m.Was > MasqueradeAll || m.Is > MasqueradeAll {
			errs = append(errs, fmt.Errorf("frontend %s: unknown %s or %s", m.Key, m.Was, m.Is))
		}
	}
	for _, p := range c.Pods {
		if err := validatePrefix(p); err != nil {
			errs = append(errs, fmt.Errorf("network of pods: %w", err))
		}
	}
	if c.needsHooks() && c.Hooks == nil {
		errs = append(errs, errors.New("a change of who may connect, or of what is away, without its hooks: Rules.Complete was not called"))
	}
	return append(errs, c.validateSources()...)
}

// validateSources looks at every list once: frontends share them.
func (c Change) validateSources() []error {
	if len(c.Sources) > 0 && c.Lists == nil {
		return []error{errors.New("a change of sources without its lists: Rules.Complete was not called")}
	}
	var errs []error
	seen := map[*Sources]bool{nil: true}
	for _, change := range c.Sources {
		for _, s := range []*Sources{change.Was, change.Is} {
			if seen[s] {
				continue
			}
			seen[s] = true
			if err := s.validate(); err != nil {
				errs = append(errs, fmt.Errorf("sources of frontend %s: %w", change.Key, err))
			}
		}
	}
	return errs
}
