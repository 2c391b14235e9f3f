package sync

import (
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// keySet is a set of frontends.
type keySet map[frontend.Key]struct{}

func newKeySet(keys ...frontend.Key) keySet {
	s := make(keySet, len(keys))
	s.add(keys...)
	return s
}

func (s keySet) add(keys ...frontend.Key) {
	for _, k := range keys {
		s[k] = struct{}{}
	}
}

func (s keySet) has(key frontend.Key) bool {
	_, ok := s[key]
	return ok
}

// minus is s without what is in o.
func (s keySet) minus(o keySet) keySet {
	rest := make(keySet, len(s))
	for k := range s {
		if !o.has(k) {
			rest.add(k)
		}
	}
	return rest
}

func (s keySet) sorted() []frontend.Key {
	if len(s) == 0 {
		return nil
	}
	keys := make([]frontend.Key, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, frontend.Key.Compare)
	return keys
}

// emptied is a set for the next round. A map keeps the room that it once had, and walking through it takes as long as if it
// were full: after a start with thousands of Services each change would pay for them.
func emptied[M ~map[K]V, K comparable, V any](m M) M {
	const few = 64
	if len(m) > few {
		return M{}
	}
	clear(m)
	return m
}
