package sync

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// protect writes what has to be in our nftables table before a frontend is served: that it is ours, and that it is
// masqueraded. It returns the keys that may be served. If the one transaction for all fails, each Service gets its own,
// so that one bad frontend holds its own Service and nobody else's. What is protected already is never held.
func (r *Reconciler) protect(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
	err := r.transact(ctx, r.additions(keys), p)
	if err == nil {
		return keys
	}
	var ready []frontend.Key
	byService := map[ServiceID][]frontend.Key{}
	var order []ServiceID
	for _, key := range keys {
		if r.additions([]frontend.Key{key}).Empty() {
			ready = append(ready, key)
			continue
		}
		f, _ := r.state.Want(key)
		if _, seen := byService[f.Service]; !seen {
			order = append(order, f.Service)
		}
		byService[f.Service] = append(byService[f.Service], key)
	}
	if len(order) == 1 {
		r.hold(byService[order[0]], err, p)
		return ready
	}
	for _, id := range order {
		own := byService[id]
		if err := r.transact(ctx, r.additions(own), p); err != nil {
			r.hold(own, fmt.Errorf("service %s: %w", id, err), p)
			continue
		}
		ready = append(ready, own...)
	}
	return ready
}

// hold keeps unprotected frontends as they are until another try.
func (r *Reconciler) hold(keys []frontend.Key, err error, p *passReport) {
	p.fail(err)
	for _, key := range keys {
		r.postpone(key)
	}
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
// address, and everything of those that the kernel does not serve any more. It returns the keys for which that failed.
func (r *Reconciler) release(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
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
	if err := r.transact(ctx, c, p); err != nil {
		p.fail(err)
		return slices.Concat(c.DelOwned, c.DelMasquerade)
	}
	return nil
}

// transact applies a change and remembers it once it is acknowledged. If somebody removed the table, it is made anew
// with all that it should have.
func (r *Reconciler) transact(ctx context.Context, c filter.Change, p *passReport) error {
	if c.Empty() {
		return nil
	}
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
