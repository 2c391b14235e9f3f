// Package allocator says who owns a port of this node.
//
// Services, health checks and annotations claim frontends: an address, a protocol and a port. Two may claim the same
// one: the API server allocates node ports cluster-wide, but duplicates exist all the same (a restored etcd, a changed
// range; kubernetes pkg/registry/core/service/portallocator/controller/repair.go reports them). The Ledger arbitrates.
//
//	claims ─► Ledger.Set ─► owners whose grants changed
//	                └─────► Holder(frontend)
//
// The order of claims decides alone, never who came first to this process: the same claims give the same owners on
// every node, after every restart and in every order of events. The package is pure and knows nothing of Kubernetes.
package allocator

import (
	"cmp"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// ID names a claimant: a Service by namespace and name.
type ID struct {
	Namespace, Name string
}

// String is NAMESPACE/NAME.
func (id ID) String() string { return id.Namespace + "/" + id.Name }

// Compare orders by namespace, then name.
func (id ID) Compare(o ID) int {
	return cmp.Or(cmp.Compare(id.Namespace, o.Namespace), cmp.Compare(id.Name, o.Name))
}

// Owner is a claimant with what decides between two of them.
type Owner struct {
	ID
	UID string
	// Created is when the object was made; the zero time is older than any other.
	Created time.Time
}

// Kind says what a claim is for. A lower kind beats a higher one whatever the owners' age.
type Kind uint8

// NodePort is a port of a Service's spec, HealthCheck the port on which its load balancer asks.
const (
	NodePort Kind = iota
	HealthCheck
)

// Claim is an owner's wish for one frontend.
type Claim struct {
	Key  frontend.Key
	Kind Kind
}

// claimant is one claim on a frontend with its owner.
type claimant struct {
	owner Owner
	kind  Kind
}

// compare orders claimants of one frontend, the holder first: kind, then age, then namespace and name, then UID.
func (c claimant) compare(o claimant) int {
	return cmp.Or(
		cmp.Compare(c.kind, o.kind),
		c.owner.Created.Compare(o.owner.Created),
		c.owner.Compare(o.owner.ID),
		cmp.Compare(c.owner.UID, o.owner.UID),
	)
}

// Ledger knows all claims and, for each frontend, who holds it. The zero value is not usable; see New. It is not safe
// for concurrent use.
type Ledger struct {
	claims map[frontend.Key][]claimant // sorted, the holder first
	keys   map[ID][]frontend.Key       // what each owner claims
}

// New is a ledger without claims.
func New() *Ledger {
	return &Ledger{claims: map[frontend.Key][]claimant{}, keys: map[ID][]frontend.Key{}}
}

// Set replaces all claims of owner, none meaning that it is gone, and returns the other owners, sorted, who claim a
// frontend that has another holder by it: they gained it, lost it, or lose it to somebody else than before, or for
// another reason (the holder's age, the kind of its claim). It costs as much as owner has claims. A frontend claimed
// twice by one owner counts once, by its lower kind.
func (l *Ledger) Set(owner Owner, claims []Claim) []ID {
	affected := map[ID]struct{}{}
	concerns := func(rivals []claimant) {
		for _, c := range rivals {
			affected[c.owner.ID] = struct{}{}
		}
	}
	before := l.heldBy(owner.ID)
	for _, key := range l.keys[owner.ID] {
		l.withdraw(owner.ID, key)
	}
	delete(l.keys, owner.ID)
	for _, c := range claims {
		l.enter(owner, c)
	}
	for _, key := range l.keys[owner.ID] {
		rivals := l.claims[key]
		if was, held := before[key]; rivals[0].owner.ID == owner.ID && (!held || was.compare(rivals[0]) != 0) {
			concerns(rivals[1:])
		}
	}
	for key := range before {
		if rivals := l.claims[key]; len(rivals) > 0 && rivals[0].owner.ID != owner.ID {
			concerns(rivals)
		}
	}
	delete(affected, owner.ID)
	ids := make([]ID, 0, len(affected))
	for id := range affected {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ID.Compare)
	return ids
}

// Holder is who owns the frontend now; false if nobody claims it.
func (l *Ledger) Holder(key frontend.Key) (Owner, bool) {
	if c := l.claims[key]; len(c) > 0 {
		return c[0].owner, true
	}
	return Owner{}, false
}

// Holds reports whether an owner holds a frontend, and by a claim of this kind.
func (l *Ledger) Holds(id ID, c Claim) bool {
	rivals := l.claims[c.Key]
	return len(rivals) > 0 && rivals[0].owner.ID == id && rivals[0].kind == c.Kind
}

func (l *Ledger) heldBy(id ID) map[frontend.Key]claimant {
	held := map[frontend.Key]claimant{}
	for _, key := range l.keys[id] {
		if first := l.claims[key][0]; first.owner.ID == id {
			held[key] = first
		}
	}
	return held
}

func (l *Ledger) withdraw(id ID, key frontend.Key) {
	rest := slices.DeleteFunc(l.claims[key], func(c claimant) bool { return c.owner.ID == id })
	if len(rest) == 0 {
		delete(l.claims, key)
		return
	}
	l.claims[key] = rest
}

func (l *Ledger) enter(owner Owner, c Claim) {
	rivals := l.claims[c.Key]
	entry := claimant{owner: owner, kind: c.Kind}
	if i := slices.IndexFunc(rivals, func(r claimant) bool { return r.owner.ID == owner.ID }); i >= 0 {
		if rivals[i].kind <= c.Kind {
			return
		}
		rivals = slices.Delete(rivals, i, i+1)
	} else {
		l.keys[owner.ID] = append(l.keys[owner.ID], c.Key)
	}
	at, _ := slices.BinarySearchFunc(rivals, entry, claimant.compare)
	l.claims[c.Key] = slices.Insert(rivals, at, entry)
}
