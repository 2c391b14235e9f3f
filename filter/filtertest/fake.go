// Package filtertest stands in for the kernel's nftables in tests: knftables' own fake, which can be made to fail and
// counts what is written.
package filtertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Fake is an nftables in memory that holds the agent's table. Give it to filter.New. A large change is slow: finding an
// element takes time proportional to its set.
type Fake struct {
	*knftables.Fake

	mu     sync.Mutex
	fault  func(transaction string) error
	writes int
}

// New is an empty nftables.
func New() *Fake { return &Fake{Fake: knftables.NewFake(filter.Family, filter.Name)} }

// Run carries out a transaction, unless ctx has ended or the fault objects.
func (f *Fake) Run(ctx context.Context, tx *knftables.Transaction) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.fault != nil {
		if err := f.fault(tx.String()); err != nil {
			return err
		}
	}
	if err := f.objection(ctx, tx.String()); err != nil {
		return err
	}
	if err := f.Fake.Run(ctx, tx); err != nil {
		return err
	}
	f.writes++
	return nil
}

// objection is what the kernel says, and knftables' fake does not, to another value for a key that a map has, and to the
// deletion of a chain that a map sends packets to.
func (f *Fake) objection(ctx context.Context, transaction string) error {
	if f.Table == nil {
		return nil
	}
	values := map[string]string{} // by map and key
	for name, m := range f.Table.Maps {
		for _, e := range m.Elements {
			values[name+" { "+strings.Join(e.Key, " . ")] = strings.Join(e.Value, " ")
		}
	}
	for line := range strings.Lines(transaction) {
		line = strings.TrimSuffix(strings.TrimSpace(line), " }")
		if strings.HasPrefix(line, "delete table ") {
			clear(values)
		}
		if chain, isChain := strings.CutPrefix(line, "delete chain "+string(filter.Family)+" "+filter.Name+" "); isChain {
			if pointsTo(values, chain) {
				return errors.New("Error: Could not process rule: Device or resource busy\n" + line) //nolint:staticcheck // as nft prints it
			}
			continue
		}
		verb, rest, isElement := strings.Cut(line, " element "+string(filter.Family)+" "+filter.Name+" ")
		key, value, isMap := strings.Cut(rest, " : ")
		before, exists := values[key]
		switch {
		case !isElement:
		case verb == "delete":
			delete(values, key)
		case !isMap:
		case exists && before != value:
			exists := f.NewTransaction()
			exists.Create(&knftables.Table{})
			return f.Fake.Run(ctx, exists)
		default:
			values[key] = value
		}
	}
	return nil
}

func pointsTo(verdicts map[string]string, chain string) bool {
	for _, verdict := range verdicts {
		if strings.HasSuffix(verdict, " "+chain) {
			return true
		}
	}
	return false
}

// SetFault makes every transaction fail for which fault returns an error; nil ends that. The transaction is given as the
// text of its nft commands, one to a line.
func (f *Fake) SetFault(fault func(transaction string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Refuse is a fault that makes every transaction fail that mentions one of the keys.
func Refuse(keys ...frontend.Key) func(transaction string) error {
	return func(transaction string) error {
		for _, key := range keys {
			if Mentions(transaction, key) {
				return fmt.Errorf("fault injected for %s", key)
			}
		}
		return nil
	}
}

// Mentions reports whether a transaction adds or deletes an element for key.
func Mentions(transaction string, key frontend.Key) bool {
	owned := fmt.Sprintf(" { %s . %s . %d }", key.Addr, key.Protocol, key.Port)
	masquerade := fmt.Sprintf("-%s { %s . %d : ", key.Protocol, key.Addr, key.Port)
	sources := fmt.Sprintf(" { %s . %s . %d : ", key.Addr, key.Protocol, key.Port)
	return strings.Contains(transaction, owned) || strings.Contains(transaction, masquerade) || strings.Contains(transaction, sources)
}

// Writes counts the transactions that succeeded.
func (f *Fake) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Foreign runs a transaction as somebody else would: no fault touches it, and it is not counted.
func (f *Fake) Foreign(ctx context.Context, build func(tx *knftables.Transaction)) error {
	tx := f.NewTransaction()
	build(tx)
	return f.Fake.Run(ctx, tx)
}

// Flush is somebody's "nft flush ruleset".
func (f *Fake) Flush(ctx context.Context) error {
	return f.Foreign(ctx, func(tx *knftables.Transaction) { tx.Destroy(&knftables.Table{}) })
}
