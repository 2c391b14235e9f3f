package filter

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/knftables"
)

// limit is how long a call may take before its nft is given up: thousands of elements take seconds on a slow machine.
const limit = time.Minute

// Options are what the rules of a table depend on.
type Options struct {
	// PodInterface tells the pods of this node by the interface that their packets come from: its name, or the
	// beginning of it and a star ("cali*"). Empty means by their addresses (Rules.Pods).
	PodInterface string
}

// podInterface is what the name of an interface may consist of here: it ends in an nft script. The kernel's names have 15
// letters, and the star counts as one.
var podInterface = regexp.MustCompile(`^([A-Za-z0-9_.@-]{1,15}|[A-Za-z0-9_.@-]{1,14}\*)$`)

// Validate refuses an interface that no rule can name.
func (o Options) Validate() error {
	if o.PodInterface != "" && !podInterface.MatchString(o.PodInterface) {
		return fmt.Errorf("%q is not the name of an interface: up to 15 letters, digits and any of _ . @ -, or up to 14 and a star", o.PodInterface)
	}
	return nil
}

// Table is the agent's nftables table in one network namespace. Its methods may be called from several goroutines;
// writes follow each other, and Read waits for none of them. Every write is one transaction: it is in force as a whole or
// not at all. After an error that came because ctx ended, only Read tells which.
type Table struct {
	mu    sync.Mutex
	nft   writer
	list  lister
	match match
	own   generations
	found atomic.Pointer[found]
}

// found is what Open read, for the first who asks.
type found struct {
	state      State
	generation uint32
}

// Open is the table of the network namespace of the calling thread. It reads the table, to see that it may, and the first Read
// gives that if nobody has written since. It does not run nft, but sees that there is one.
func Open(o Options) (*Table, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	t := &Table{nft: newProgram(), list: listByNetlink, match: match{podInterface: o.PodInterface}}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	generation, err := Generation()
	if err != nil {
		return nil, err
	}
	state, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	t.found.Store(&found{state: state, generation: generation})
	return t, nil
}

// New is the table behind nft, which must have been made for Family and Name, with valid options. knftables.NewFake gives
// one for tests.
func New(nft knftables.Interface, o Options) *Table {
	return &Table{nft: nft, list: listBy(nft), match: match{podInterface: o.PodInterface}}
}

// Ensure makes the table if it is missing, damaged or of another layout, and keeps the elements that it can read. It
// writes nothing, and says so, if the table is right. Objects of others in the table do not make it wrong. Not seen are a
// changed type of a set, a changed policy and the dormant flag, which nothing brings about by accident.
func (t *Table) Ensure(ctx context.Context) (wrote bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	state, err := t.present(ctx)
	if err != nil || state.Intact {
		return false, err
	}
	return true, t.replace(ctx, state.Rules)
}

// Read is what the kernel has, at one moment, which may be one between two transactions of an Apply that is under way. A table
// that is missing is no error: the state is empty and not Intact. The kernel tells everything, so ask when Watch says so, not
// on a timer.
func (t *Table) Read(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return t.present(ctx)
}

// Apply writes a change, all of it or nothing. Elements to be added that exist, and elements to be deleted that are gone,
// are no error. If the table is not as the change takes it to be (it is gone, or not whole, or a frontend has another
// masquerade or another list of sources), then IsOutOfStep(err), and nothing was written; the same where the change is
// written and a list that it leaves behind is in use: Replace with everything that is wanted. An invalid change fails before
// anything is written, and so does one of sources that is not complete. An empty one runs nothing.
func (t *Table) Apply(ctx context.Context, c Change) error {
	if c.Empty() {
		return nil
	}
	if err := errors.Join(c.validate()...); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := t.apply(ctx, c); err != nil {
		return fmt.Errorf("nftables: changing table %s: %w", Name, err)
	}
	return nil
}

// apply writes a change in up to three transactions. The kernel lets packets into the rules that a transaction makes a
// moment before its sets have their elements: where a list was made and pointed to in one, its clients were dropped and
// others let in meanwhile (14 and 13 of some 2,000 datagrams in 40 changes of 1,000 prefixes, Linux 6.18). So lists are
// made before anything points to them and removed once nothing does; what a change is about is still one transaction.
func (t *Table) apply(ctx context.Context, c Change) error {
	var lists ListsChange
	if c.Lists != nil {
		lists = *c.Lists
	}
	if err := t.runEach(ctx, lists.Add, addList); err != nil {
		return err
	}
	tx := t.nft.NewTransaction()
	deleteElements(tx, c)
	addElements(tx, c)
	if c.Hooks != nil {
		changeHooks(tx, t.match, *c.Hooks, c.narrows())
	}
	if err := t.run(ctx, tx); err != nil {
		_ = t.runEach(ctx, lists.Add, deleteList) // those that somebody has all the same stay
		return err
	}
	if err := t.runEach(ctx, lists.Del, deleteList); IsOutOfStep(err) {
		return err
	}
	return nil // the change is in force; a list that is left makes the table not Intact
}

// runEach writes lists in a transaction of their own.
func (t *Table) runEach(ctx context.Context, lists []*Sources, write func(*knftables.Transaction, *Sources)) error {
	if len(lists) == 0 {
		return nil
	}
	tx := t.nft.NewTransaction()
	for _, s := range lists {
		write(tx, s)
	}
	return t.run(ctx, tx)
}

// Replace makes the table with exactly these rules, from whatever is there, in one transaction. It always writes.
func (t *Table) Replace(ctx context.Context, r Rules) error {
	if err := errors.Join(Diff(Rules{}, r).validate()...); err != nil {
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
	if err := t.run(ctx, tx); err != nil && !isMissing(err) {
		return fmt.Errorf("nftables: deleting table %s: %w", Name, err)
	}
	return nil
}

// IsOutOfStep reports that a change could not be written because the table is not what it was taken for: it, or a part
// of it, does not exist, an element has another value, or a list to be removed is in use.
func IsOutOfStep(err error) bool {
	return isMissing(err) || isOther(err) || isBusy(err)
}

func (t *Table) replace(ctx context.Context, r Rules) error {
	tx := t.nft.NewTransaction()
	// Deleting what may not exist: add it first.
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	addSkeleton(tx, t.match, r.Hooks())
	whole := Diff(Rules{}, r)
	if whole.Lists != nil {
		for _, s := range whole.Lists.Add {
			addList(tx, s)
		}
	}
	addElements(tx, whole)
	if err := t.run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: making table %s: %w", Name, err)
	}
	return nil
}

// present is what the table has: what Open read, if nobody has written to nftables since.
func (t *Table) present(ctx context.Context) (State, error) {
	if found := t.found.Swap(nil); found != nil {
		if now, err := Generation(); err == nil && now == found.generation {
			return found.state, nil
		}
	}
	return t.read(ctx)
}

// read lists the table and makes a State of it.
func (t *Table) read(ctx context.Context) (State, error) {
	l, err := t.list(ctx)
	if err != nil {
		return State{}, fmt.Errorf("nftables: listing table %s: %w", Name, err)
	}
	return l.state(t.match), nil
}

func (t *Table) run(ctx context.Context, tx *knftables.Transaction) error {
	return t.own.during(func() error {
		if err := t.nft.Run(ctx, tx); err != nil {
			return newNftError(ctx, err)
		}
		return nil
	})
}
