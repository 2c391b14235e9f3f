package filter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// limit is how long a call may take before its nft is given up: thousands of elements take seconds on a slow machine.
const limit = time.Minute

// Table is the agent's nftables table in one network namespace. Its methods may be called from several goroutines;
// calls follow each other. Every write is one transaction: it is in force as a whole or not at all. After an error that
// came because ctx ended, only Read tells which.
type Table struct {
	mu  sync.Mutex
	nft knftables.Interface
	own generations
}

// Open is the table of the network namespace of the calling thread. It runs nft to see that it works and is allowed to,
// and writes nothing.
func Open() (*Table, error) {
	nft, err := knftables.New(Family, Name)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return New(nft), nil
}

// New is the table behind nft, which must have been made for Family and Name. knftables.NewFake gives one for tests.
func New(nft knftables.Interface) *Table { return &Table{nft: nft} }

// State is what the kernel has.
type State struct {
	// Rules has all elements that can be read as frontends, whoever wrote them.
	Rules Rules
	// Present: there is a table of our name.
	Present bool
	// Intact: the sets, the chain and its rules are there and of the present layout. If not, Ensure or Replace mend it.
	Intact bool
	// Stray has the elements that are no frontends, as "SET: ELEMENT: REASON". Somebody else wrote them; no packet that
	// the agent cares for matches them. Replace removes them.
	Stray []string
}

// Ensure makes the table if it is missing, damaged or of another layout, and keeps the elements that it can read. It
// writes nothing, and says so, if the table is right. Objects of others in the table do not make it wrong. Not seen are a
// changed type of a set, a changed policy and the dormant flag, which nothing brings about by accident.
func (t *Table) Ensure(ctx context.Context) (wrote bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	intact, err := t.intact(ctx)
	if err != nil || intact {
		return false, err
	}
	state, err := t.read(ctx)
	if err != nil {
		return false, err
	}
	return true, t.replace(ctx, state.Rules)
}

// Read is what the kernel has. A table that is missing is no error: the state is empty and not Intact. nft runs nine times
// for it, so ask when Watch says so, not on a timer.
func (t *Table) Read(ctx context.Context) (State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return t.read(ctx)
}

// Apply writes a change. Elements to be added that exist, and elements to be deleted that are gone, are no error. If the
// table is not there, or not whole, IsMissing(err), and nothing was written: Replace with everything that is wanted. An
// invalid key fails the call before anything is written. An empty change runs nothing.
func (t *Table) Apply(ctx context.Context, c Change) error {
	if c.Empty() {
		return nil
	}
	if err := validate(c.AddOwned, c.AddMasquerade, c.DelMasquerade, c.DelOwned); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tx := t.nft.NewTransaction()
	// The deletions come first and each is preceded by an addition: the element is gone then, whether it was there or not.
	for _, s := range []struct {
		keys []frontend.Key
		set  func(frontend.Key) set
	}{{c.DelMasquerade, masqueradeSetOf}, {c.DelOwned, ownedSetOf}} {
		for _, key := range s.keys {
			tx.Add(s.set(key).element(key))
			tx.Delete(s.set(key).element(key))
		}
	}
	addElements(tx, c.AddOwned, c.AddMasquerade)
	if err := t.run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: changing table %s: %w", Name, err)
	}
	return nil
}

// Replace makes the table with exactly these rules, from whatever is there, in one transaction. It always writes.
func (t *Table) Replace(ctx context.Context, r Rules) error {
	if err := validate(r.Owned.Keys(), r.Masquerade.Keys()); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return t.replace(ctx, r)
}

// Remove deletes the table with everything in it. A table that is missing is no error, and then nothing is written.
func (t *Table) Remove(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tx := t.nft.NewTransaction()
	tx.Delete(&knftables.Table{})
	if err := t.run(ctx, tx); err != nil && !knftables.IsNotFound(err) {
		return fmt.Errorf("nftables: deleting table %s: %w", Name, err)
	}
	return nil
}

// IsMissing reports that a change could not be written because the table, or a set of it, does not exist.
func IsMissing(err error) bool { return knftables.IsNotFound(err) }

func (t *Table) replace(ctx context.Context, r Rules) error {
	tx := t.nft.NewTransaction()
	// Deleting what may not exist: add it first.
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	addSkeleton(tx)
	addElements(tx, r.Owned.Keys(), r.Masquerade.Keys())
	if err := t.run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: making table %s: %w", Name, err)
	}
	return nil
}

// intact reads whether everything but the elements is right.
func (t *Table) intact(ctx context.Context) (bool, error) {
	right, err := t.rulesAreRight(ctx)
	if err != nil || !right {
		return false, err
	}
	objects, err := t.list(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range sets() {
		if !slices.Contains(objects["set"], s.name) {
			return false, nil
		}
	}
	return true, nil
}

// list names the objects of the table by type; nil if there is no table.
func (t *Table) list(ctx context.Context) (map[string][]string, error) {
	objects, err := t.nft.ListAll(ctx)
	if knftables.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nftables: listing table %s: %w", Name, newNftError(ctx, err))
	}
	return objects, nil
}

// rulesAreRight reads whether the chain has the rules of the present layout and no others.
func (t *Table) rulesAreRight(ctx context.Context) (bool, error) {
	rules, err := t.nft.ListRules(ctx, chainName)
	if knftables.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("nftables: listing chain %s of table %s: %w", chainName, Name, newNftError(ctx, err))
	}
	same := func(a, b *knftables.Rule) bool {
		return a.Comment != nil && b.Comment != nil && *a.Comment == *b.Comment
	}
	return slices.EqualFunc(rules, ruleObjects(), same), nil
}

func (t *Table) read(ctx context.Context) (State, error) {
	right, err := t.rulesAreRight(ctx)
	if err != nil {
		return State{}, err
	}
	state := State{Rules: Rules{Owned: Set{}, Masquerade: Set{}}, Intact: right, Present: right}
	if !right { // the table may be missing altogether, which is quicker to find out once than for each set
		objects, err := t.list(ctx)
		if err != nil || objects == nil {
			return state, err
		}
		state.Present = true
	}
	for _, s := range sets() {
		elements, err := t.nft.ListElements(ctx, "set", s.name)
		if knftables.IsNotFound(err) {
			state.Intact = false
			continue
		}
		if err != nil {
			return State{}, fmt.Errorf("nftables: listing set %s of table %s: %w", s.name, Name, newNftError(ctx, err))
		}
		state.add(s, elements)
	}
	slices.Sort(state.Stray)
	return state, nil
}

// add enters the elements of a set.
func (state *State) add(s set, elements []*knftables.Element) {
	into := state.Rules.Masquerade
	if s.owned() {
		into = state.Rules.Owned
	}
	for _, e := range elements {
		key, err := s.key(e)
		if err != nil {
			state.Stray = append(state.Stray, err.Error())
			continue
		}
		into[key] = struct{}{}
	}
}

func (t *Table) run(ctx context.Context, tx *knftables.Transaction) error {
	return t.own.during(func() error {
		if err := t.nft.Run(ctx, tx); err != nil {
			return newNftError(ctx, err)
		}
		return nil
	})
}

func ownedSetOf(key frontend.Key) set { return ownedSet(key.Addr.Is4()) }

func masqueradeSetOf(key frontend.Key) set { return masqueradeSet(key.Addr.Is4(), key.Protocol) }

func addElements(tx *knftables.Transaction, owned, masquerade []frontend.Key) {
	for _, key := range owned {
		tx.Add(ownedSetOf(key).element(key))
	}
	for _, key := range masquerade {
		tx.Add(masqueradeSetOf(key).element(key))
	}
}

// validate names every key that cannot be written.
func validate(lists ...[]frontend.Key) error {
	var errs []error
	for _, keys := range lists {
		for _, key := range keys {
			if err := key.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("frontend %s: %w", key, err))
			}
		}
	}
	return errors.Join(errs...)
}
