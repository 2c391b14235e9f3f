package allocator

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Ledger knows all claims and, for each frontend, who holds it. What one change costs depends on that owner's claims
// and its rivals for them, never on how many other claims there are. The zero value is not usable; see New. It is not
// safe for concurrent use.
type Ledger struct {
	claimants map[frontend.Key][]Claimant // in order, the holder first; no key without any; never written to, but replaced
	accounts  map[ID]account              // no owner without claims
	ports     map[uint16]int              // how many keys of claimants have the port
	changes   uint64
}

// account is an owner with its claims as normalised makes them.
type account struct {
	Owner
	claims []Claim
}

// New is a ledger without claims.
func New() *Ledger {
	return &Ledger{claimants: map[frontend.Key][]Claimant{}, accounts: map[ID]account{}, ports: map[uint16]int{}}
}

// Set replaces all claims of owner, none meaning that it is gone, and returns the other owners, sorted, who claim a
// frontend that has another holder by it: they gained it, lost it, or lose it to somebody else than before, or for
// another reason (the holder's age, the kind of its claim). A frontend claimed twice by one owner counts once, by its
// lower kind.
func (l *Ledger) Set(owner Owner, claims []Claim) []ID {
	was, is := l.accounts[owner.ID], account{owner, normalised(claims)}
	if sameOwner(was.Owner, owner) && slices.Equal(was.claims, is.claims) {
		return nil // the most frequent case: of a Service only the endpoints have changed
	}
	l.changes++
	before := make(map[frontend.Key]Claimant, len(is.claims))
	for _, claims := range [][]Claim{was.claims, is.claims} {
		for _, c := range claims {
			before[c.Key], _ = l.first(c.Key)
		}
	}
	for _, c := range was.claims {
		l.withdraw(owner.ID, c.Key)
	}
	for _, c := range is.claims {
		l.enter(c.Key, Claimant{owner, c.Kind})
	}
	l.accounts[owner.ID] = is
	if len(is.claims) == 0 {
		delete(l.accounts, owner.ID)
	}
	return l.concerned(owner.ID, before)
}

// Clone is a ledger of its own with the same claims.
func (l *Ledger) Clone() *Ledger {
	return &Ledger{claimants: maps.Clone(l.claimants), accounts: maps.Clone(l.accounts), ports: maps.Clone(l.ports), changes: l.changes}
}

// Changes counts the calls of Set that changed any claim or owner: as long as it stays, so does everything else here.
func (l *Ledger) Changes() uint64 { return l.changes }

// Holder is who owns the frontend now; false if nobody claims it.
func (l *Ledger) Holder(key frontend.Key) (Owner, bool) {
	first, ok := l.first(key)
	return first.Owner, ok
}

// Holds reports whether an owner holds a frontend, and by a claim of this kind.
func (l *Ledger) Holds(id ID, c Claim) bool {
	first, ok := l.first(c.Key)
	return ok && first.ID == id && first.Kind == c.Kind
}

// Claimants are all who claim the frontend, in order: the first holds it, the others would take it over one after the
// other. The caller may keep the slice.
func (l *Ledger) Claimants(key frontend.Key) []Claimant { return slices.Clone(l.claimants[key]) }

// ClaimedBy reports whether one of those who claim the frontend is as which says.
func (l *Ledger) ClaimedBy(key frontend.Key, which func(Claimant) bool) bool {
	return slices.ContainsFunc(l.claimants[key], which)
}

// Claims are all claimed frontends, sorted, each with its Claimants. It sorts all keys, so it is for what people ask,
// not for each change.
func (l *Ledger) Claims() iter.Seq2[frontend.Key, []Claimant] {
	return func(yield func(frontend.Key, []Claimant) bool) {
		for _, key := range slices.SortedFunc(maps.Keys(l.claimants), frontend.Key.Compare) {
			if !yield(key, l.Claimants(key)) {
				return
			}
		}
	}
}

// Ports are the ports that somebody claims, on whatever address and for whatever protocol and kind. It costs as much
// as there are such ports, at most 65536. The API server allocates node ports in the same way, by their number alone:
// two protocols of one port of a Service are one allocation. It knows more of them than a node does, though: those of
// Services that claim no frontend here are not in this set.
func (l *Ledger) Ports() *Ports {
	claimed := new(Ports)
	for port := range l.ports {
		claimed.Add(port)
	}
	return claimed
}

func (l *Ledger) first(key frontend.Key) (Claimant, bool) {
	if c := l.claimants[key]; len(c) > 0 {
		return c[0], true
	}
	return Claimant{}, false
}

// concerned are all owners but one who claim frontends that had another holder before, or the same for another reason.
func (l *Ledger) concerned(but ID, before map[frontend.Key]Claimant) []ID {
	var ids []ID
	for key, was := range before {
		// Nobody is left for a frontend without a holder now, and nobody else for one that had none before.
		if first, ok := l.first(key); !ok || first.order(was) == 0 {
			continue
		}
		for _, c := range l.claimants[key] {
			if c.ID != but {
				ids = append(ids, c.ID)
			}
		}
	}
	slices.SortFunc(ids, ID.Compare)
	return slices.Compact(ids)
}

func (l *Ledger) withdraw(id ID, key frontend.Key) {
	all := l.claimants[key]
	i := slices.IndexFunc(all, func(c Claimant) bool { return c.ID == id })
	if len(all) > 1 {
		l.claimants[key] = slices.Concat(all[:i], all[i+1:])
		return
	}
	delete(l.claimants, key)
	if l.ports[key.Port]--; l.ports[key.Port] == 0 {
		delete(l.ports, key.Port)
	}
}

func (l *Ledger) enter(key frontend.Key, c Claimant) {
	rivals := l.claimants[key]
	if len(rivals) == 0 {
		l.ports[key.Port]++
		l.claimants[key] = []Claimant{c}
		return
	}
	at, _ := slices.BinarySearchFunc(rivals, c, Claimant.order)
	l.claimants[key] = slices.Concat(rivals[:at], []Claimant{c}, rivals[at:])
}

// normalised are claims sorted by frontend, each frontend once, by its lowest kind.
func normalised(claims []Claim) []Claim {
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b Claim) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.CompactFunc(claims, func(a, b Claim) bool { return a.Key == b.Key })
}

// sameOwner compares what decides between owners; == would tell two clocks of the same time apart.
func sameOwner(a, b Owner) bool { return Claimant{Owner: a}.order(Claimant{Owner: b}) == 0 }
