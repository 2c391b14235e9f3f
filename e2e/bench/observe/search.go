package observe

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// search looks for everything in kube-proxy's tables, each time that there is a new generation of the ruleset.
type search struct {
	socket  *nfSocket
	want    Want
	left    []frontend.Key // those that did not have all of their endpoints yet when they were looked at
	lacking int            // as of the last look
}

// await returns when the generation was first seen in which everything is there, and when the one before was last seen.
func (s *search) await(ctx context.Context) (at, before time.Time, err error) {
	var seen uint32 // no generation is 0
	start := time.Now()
	before = start
	for {
		begin := time.Now()
		generation, err := s.socket.generation()
		if err != nil {
			return at, before, err
		}
		if generation != seen {
			at = time.Now()
			exact, err := s.look(generation, true)
			if err != nil {
				return at, before, err
			}
			if s.lacking == 0 {
				if !exact { // Another generation came meanwhile, and may be the one that has it all.
					at = time.Now()
				}
				return at, before, nil
			}
		}
		seen, before = generation, begin
		if err := rest(ctx, start, begin); err != nil {
			_, inVain := s.look(generation, false)
			return at, before, errors.Join(err, inVain)
		}
	}
}

// rulesets are kube-proxy's tables by family.
type rulesets map[uint8]*ruleset

func (r rulesets) of(key frontend.Key) *ruleset { return r[family(key)] }

// look counts the frontends that do not lead to all of their endpoints. Exact says that it is so in this generation, and not only in a later one.
//
// What takes little time comes first: node ports, then some frontends if a sample is asked for, and only if they are as they
// should be, all rules, which say to how many endpoints they lead, and then the map of each of them.
func (s *search) look(generation uint32, sample bool) (exact bool, err error) {
	tables := rulesets{}
	for key := range s.want {
		tables[family(key)] = newRuleset()
	}
	exact = true
	for f, r := range tables {
		take := func(m message) error {
			exact = exact && m.generation == uint16(generation)
			r.apply(m)
			return nil
		}
		if err := errors.Join(s.socket.set(f, nodePortIPSet, take), s.socket.set(f, nodePortsMap, take)); err != nil {
			return false, err
		}
	}
	if s.lacking = s.count(func(key frontend.Key) bool { return tables.of(key).external(key) != "" }); s.lacking > 0 {
		return false, nil
	}
	if sample {
		if some, err := s.sample(tables); err != nil || !some {
			s.lacking = len(s.left)
			return false, err
		}
	}
	found, err := s.rules(tables, generation)
	if err != nil {
		return false, err
	}
	if s.lacking = s.count(func(key frontend.Key) bool { return tables.of(key).announced(key) >= len(s.want[key]) }); s.lacking > 0 {
		return false, nil
	}
	same, err := s.endpoints(tables, generation)
	return exact && found && same, err
}

// count is how many of those that are left are not as they should be.
func (s *search) count(is func(frontend.Key) bool) int {
	n := 0
	for _, key := range s.left {
		if !is(key) {
			n++
		}
	}
	return n
}

// sample looks at some frontends, and says whether all of them have all of their endpoints.
func (s *search) sample(tables rulesets) (bool, error) {
	for range min(probes, len(s.left)) {
		key := s.left[rand.IntN(len(s.left))]
		r := &ruleset{chains: map[string]map[uint64]rule{}, sets: maps.Clone(tables.of(key).sets)}
		if err := s.socket.load(family(key), r, r.external(key), depth, true); err != nil {
			return false, err
		}
		if !containsAll(r.endpoints(key), s.want[key]) {
			return false, nil
		}
	}
	return true, nil
}

// rules reads all rules, and says whether they are of this generation.
func (s *search) rules(tables rulesets, generation uint32) (exact bool, err error) {
	exact = true
	for f, r := range tables {
		err := s.socket.ask(unix.NFT_MSG_GETRULE, f, unix.NLM_F_DUMP, appendText(nil, unix.NFTA_RULE_TABLE, table), func(m message) error {
			exact = exact && m.generation == uint16(generation)
			r.apply(m)
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return exact, nil
}

// endpoints reads the maps of the frontends that are left, and leaves those that lack some. Same says that they belong to the rules of this
// generation: a rule's map cannot change, so that it does if the rules are still the same ones afterwards.
func (s *search) endpoints(tables rulesets, generation uint32) (same bool, err error) {
	for _, key := range s.left {
		r := tables.of(key)
		if err := s.socket.load(family(key), r, r.external(key), depth, false); err != nil {
			return false, err
		}
	}
	s.left = slices.DeleteFunc(s.left, func(key frontend.Key) bool { return containsAll(tables.of(key).endpoints(key), s.want[key]) })
	s.lacking = len(s.left)
	now, err := s.socket.generation()
	if err != nil || now == generation {
		return err == nil, err
	}
	again := rulesets{}
	for f := range tables {
		again[f] = newRuleset()
	}
	if _, err := s.rules(again, now); err != nil {
		return false, err
	}
	for f, r := range tables {
		if !r.sameRules(again[f]) {
			return false, nil
		}
	}
	return true, nil
}

func containsAll(have map[netip.AddrPort]bool, want []netip.AddrPort) bool {
	return !slices.ContainsFunc(want, func(e netip.AddrPort) bool { return !have[e] })
}

// generation is the number of the last commit, of whatever table.
func (s *nfSocket) generation() (id uint32, err error) {
	err = s.ask(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil, func(m message) error {
		id = uint32(number(attribute(m.attrs, unix.NFTA_GEN_ID)))
		return nil
	})
	return id, err
}

// load reads what a chain leads to, the maps that r does not have and, if asked for, the rules.
func (s *nfSocket) load(f uint8, r *ruleset, chain string, left int, rules bool) error {
	if left == 0 || chain == "" {
		return nil
	}
	take := func(m message) error {
		r.apply(m)
		return nil
	}
	if rules {
		request := appendText(appendText(nil, unix.NFTA_RULE_TABLE, table), unix.NFTA_RULE_CHAIN, chain)
		delete(r.chains, chain)
		if err := s.ask(unix.NFT_MSG_GETRULE, f, unix.NLM_F_DUMP, request, take); err != nil {
			return err
		}
	}
	for _, found := range r.chains[chain] {
		next := slices.Clone(found.chains)
		for _, set := range found.sets {
			if _, known := r.sets[set]; !known || rules {
				delete(r.sets, set)
				if err := s.set(f, set, take); err != nil {
					return err
				}
			}
			for _, e := range r.sets[set] {
				next = append(next, e.chain)
			}
		}
		for _, chain := range next {
			if err := s.load(f, r, chain, left-1, rules); err != nil {
				return err
			}
		}
	}
	return nil
}

// set reads the elements of a set or map.
func (s *nfSocket) set(f uint8, name string, take func(message) error) error {
	request := appendText(appendText(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, name)
	return s.ask(unix.NFT_MSG_GETSETELEM, f, unix.NLM_F_DUMP, request, take)
}

// nodePort reads one element of the map of node ports.
func (s *nfSocket) nodePort(f uint8, key frontend.Key, take func(message) error) error {
	request := appendText(appendText(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, nodePortsMap)
	value := appendAttr(nil, unix.NFTA_DATA_VALUE, []byte(nodePort(key)))
	element := appendAttr(nil, unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, value)
	list := appendAttr(nil, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, element)
	request = appendAttr(request, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list)
	return s.ask(unix.NFT_MSG_GETSETELEM, f, 0, request, take)
}
