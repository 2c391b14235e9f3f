package sync

import (
	"context"
	"fmt"
	"maps"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// protect writes what has to be in our nftables table before a frontend is served: that it is ours, and that it is
// masqueraded. It returns the keys that may be served. If the one transaction for all fails, each Service gets its own,
// so that one bad frontend holds its own Service and nobody else's.
func (r *Reconciler) protect(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
	change := r.additions(keys)
	if change.Empty() {
		return keys
	}
	err := r.transact(ctx, change, p)
	if err == nil {
		return keys
	}
	byService := map[ServiceID][]frontend.Key{}
	var order []ServiceID
	for _, key := range keys {
		f, _ := r.state.Want(key)
		if _, seen := byService[f.Service]; !seen {
			order = append(order, f.Service)
		}
		byService[f.Service] = append(byService[f.Service], key)
	}
	if len(order) == 1 {
		return r.hold(keys, err, p)
	}
	var ready []frontend.Key
	for _, id := range order {
		own := byService[id]
		if change := r.additions(own); !change.Empty() {
			if err := r.transact(ctx, change, p); err != nil {
				ready = append(ready, r.hold(own, fmt.Errorf("service %s: %w", id, err), p)...)
				continue
			}
		}
		ready = append(ready, own...)
	}
	return ready
}

// hold keeps unprotected frontends as they are until another try, and returns none of them.
func (r *Reconciler) hold(keys []frontend.Key, err error, p *passReport) []frontend.Key {
	p.fail(fmt.Errorf("nftables: %w", err))
	for _, key := range keys {
		r.postpone(key)
	}
	return nil
}

// additions is what the table lacks for the wanted ones of keys.
func (r *Reconciler) additions(keys []frontend.Key) filter.Change {
	var c filter.Change
	for _, key := range keys {
		f, wanted := r.state.Want(key)
		if !wanted {
			continue
		}
		if !r.rules.Owned.Has(key) {
			c.AddOwned = append(c.AddOwned, key)
		}
		if f.Masquerade && !r.rules.Masquerade.Has(key) {
			c.AddMasquerade = append(c.AddMasquerade, key)
		}
	}
	return c
}

// release takes out of the table what nothing needs any more: the masquerade of frontends that keep the client's
// address, and everything of those that the kernel does not serve any more.
func (r *Reconciler) release(ctx context.Context, keys []frontend.Key, p *passReport) {
	var c filter.Change
	for _, key := range keys {
		f, wanted := r.state.Want(key)
		_, served := r.have.table[key]
		gone := !wanted && !served
		if gone && r.rules.Owned.Has(key) {
			c.DelOwned = append(c.DelOwned, key)
		}
		if (gone || wanted && !f.Masquerade) && r.rules.Masquerade.Has(key) {
			c.DelMasquerade = append(c.DelMasquerade, key)
		}
	}
	if c.Empty() {
		return
	}
	if err := r.transact(ctx, c, p); err != nil {
		r.hold(append(c.DelOwned, c.DelMasquerade...), err, p)
	}
}

// transact applies a change and remembers it once it is acknowledged. If somebody removed the table, it is made anew
// with all that it should have.
func (r *Reconciler) transact(ctx context.Context, c filter.Change, p *passReport) error {
	err := r.Filter.Apply(ctx, c)
	if filter.IsMissing(err) {
		whole := filter.Rules{Owned: maps.Clone(r.rules.Owned), Masquerade: maps.Clone(r.rules.Masquerade)}
		whole.Commit(c)
		err = r.Filter.Replace(ctx, whole)
		p.drift++
	}
	p.transaction(err)
	if err != nil {
		return err
	}
	r.rules.Commit(c)
	return nil
}
