package filter

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// Every list of sources that a frontend has stands in the table once: a chain and up to four sets, all named by its ID.
// What a name stands for never changes: a list is whole before the first packet comes to it, and nothing writes to it
// while packets do. Another list for a frontend is another chain, to which its element is pointed in one transaction once
// the chain is there (see Table.apply).

// sourcesPrefix is what the names of the chains of lists begin with, and of the maps that send packets to them.
const sourcesPrefix = "sources-"

// listNames are the names of chains and sets of lists, with the ID.
func listNames() *regexp.Regexp {
	return regexp.MustCompile(`^(?:` + sourcesPrefix + `([0-9a-f]{32})|(?:allow|deny)-([0-9a-f]{32})-ipv[46])$`)
}

func (s *Sources) chain() *knftables.Chain { return &knftables.Chain{Name: sourcesPrefix + s.id} }

// listSets are the sets that a list with this ID can have.
func listSets(id string) []container {
	var all []container
	for _, k := range []kind{denied, allowed} {
		for _, ipv4 := range families() {
			all = append(all, container{kind: k, ipv4: ipv4, list: id})
		}
	}
	return all
}

// sets are those that a list has: the ones with elements.
func (s *Sources) sets() []container {
	return slices.DeleteFunc(listSets(s.id), func(c container) bool { return len(s.in(c)) == 0 })
}

// in are the prefixes that a list has in one of its sets.
func (s *Sources) in(c container) []netip.Prefix {
	list := s.allow
	if c.kind == denied {
		list = s.deny
	}
	first := slices.IndexFunc(list, func(p netip.Prefix) bool { return !p.Addr().Is4() }) // IPv4 comes before IPv6
	if first < 0 {
		first = len(list)
	}
	if c.ipv4 {
		return list[:first]
	}
	return list[first:]
}

// rules are those of the chain of a list. Whom they do not drop goes on with the rules of the hook.
func (s *Sources) rules() []*knftables.Rule {
	var rules []*knftables.Rule
	add := func(what, rule string) {
		comment := fmt.Sprintf("layout %d, %s", layout, what)
		rules = append(rules, &knftables.Rule{Chain: s.chain().Name, Rule: rule, Comment: &comment})
	}
	for _, c := range s.sets() {
		from := knftables.Concat(header(c.ipv4), "saddr @"+c.name())
		if c.kind == denied {
			add("denied, "+familyName(c.ipv4), knftables.Concat(from, "drop"))
		} else {
			add("allowed, "+familyName(c.ipv4), knftables.Concat(from, "return"))
		}
	}
	if len(s.allow) > 0 {
		add("everybody else", "drop")
	}
	return rules
}

// addList makes a list, whatever stands under its names.
func addList(tx *knftables.Transaction, s *Sources) {
	tx.Add(s.chain())
	tx.Flush(s.chain())
	for _, c := range s.sets() {
		tx.Add(c.object())
		tx.Flush(c.object())
		for _, p := range s.in(c) {
			tx.Add(c.prefix(p))
		}
	}
	for _, r := range s.rules() {
		tx.Add(r)
	}
}

// deleteList removes a list, whether it is there or not. One that an element still points to makes the transaction fail.
func deleteList(tx *knftables.Transaction, s *Sources) {
	tx.Add(s.chain())
	tx.Delete(s.chain())
	for _, c := range s.sets() {
		tx.Add(c.object())
		tx.Delete(c.object())
	}
}

// readSources enters into state which list each frontend has. If that cannot be said, it had one nevertheless: nobody may
// connect, until the right one is written.
func (l listing) readSources(state *State) {
	lists := l.readLists(state)
	for _, ipv4 := range families() {
		c := sourcesMap(ipv4)
		for _, e := range l.elements[c.name()] {
			key, err := c.parseKey(e.Key)
			if err != nil {
				state.Stray = append(state.Stray, c.stray(e, err).Error())
				continue
			}
			id, _ := strings.CutPrefix(strings.Join(e.Value, " "), "jump "+sourcesPrefix)
			s := lists[id]
			if s == nil {
				s, state.Intact = Nobody(), false
			}
			state.Rules.Sources[key] = s
		}
	}
	used := listsOf(state.Rules.Sources)
	for id := range lists {
		state.Intact = state.Intact && used[id] != nil
	}
}

// readLists are the lists of the table by their IDs. Those that are not as addList makes them leave state not intact; if
// only their rules are not, they are read nevertheless.
func (l listing) readLists(state *State) map[string]*Sources {
	lists, rules := map[string]*Sources{}, byChain(l.rules)
	for id := range l.listIDs() {
		s := l.readList(id, state)
		if s == nil {
			state.Intact = false
			continue
		}
		lists[id] = s
		chain := s.chain().Name
		state.Intact = state.Intact && l.hasSets(s) && slices.Equal(commentsOf(chain, rules[chain]), commentsOf(chain, s.rules()))
	}
	return lists
}

// listIDs are those of all lists of which there is a chain or a set.
func (l listing) listIDs() map[string]struct{} {
	ids, pattern := map[string]struct{}{}, listNames()
	for _, name := range slices.Concat(l.chains, slices.Collect(maps.Keys(l.types))) {
		if match := pattern.FindStringSubmatch(name); match != nil {
			ids[match[1]+match[2]] = struct{}{}
		}
	}
	return ids
}

// readList makes a list of the sets under its ID; nil if it is another one.
func (l listing) readList(id string, state *State) *Sources {
	read, whole := map[kind][]netip.Prefix{}, true
	for _, c := range listSets(id) {
		for _, e := range l.elements[c.name()] {
			p, err := c.parsePrefix(e.Key)
			if err != nil {
				state.Stray, whole = append(state.Stray, c.stray(e, err).Error()), false
			}
			read[c.kind] = append(read[c.kind], p)
		}
	}
	if s := NewSources(read[allowed], read[denied]); whole && s.ID() == id {
		return s
	}
	return nil
}

// hasSets reports whether the table has the sets that a list has, and no other under its ID.
func (l listing) hasSets(s *Sources) bool {
	for _, c := range listSets(s.id) {
		want := ""
		if len(s.in(c)) > 0 {
			want = c.objectType()
		}
		if l.types[c.name()] != want {
			return false
		}
	}
	return true
}
