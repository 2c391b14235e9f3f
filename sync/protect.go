package sync

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// protectBudget is how long a pass looks for the frontends that make a transaction fail. What it has not come to by then
// waits: with nft broken as a whole, thousands of transactions would keep everything else waiting too.
const protectBudget = 3 * time.Second

// protect writes what has to be in our nftables table before a frontend is served: that it is ours, whose clients are
// masqueraded, who may connect, and that nobody outside may. It returns the keys that may be served. If the one
// transaction for all fails, it is halved until the Services at fault stand alone, so that one bad frontend holds its own
// Service and nobody else's. What is protected already is never held.
func (r *Reconciler) protect(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
	defer clear(r.common)
	var ready []frontend.Key
	byService := map[ServiceID][]frontend.Key{}
	for _, key := range keys {
		if r.additions([]frontend.Key{key}).Empty() {
			ready = append(ready, key)
			continue
		}
		f, _ := r.state.Want(key)
		byService[f.Service] = append(byService[f.Service], key)
	}
	services := slices.SortedFunc(maps.Keys(byService), ServiceID.Compare)
	until := time.Now().Add(protectBudget)
	var try func(services []ServiceID)
	try = func(services []ServiceID) {
		var own []frontend.Key
		for _, id := range services {
			own = append(own, byService[id]...)
		}
		err := r.transact(ctx, r.additions(own), p)
		switch half := len(services) / 2; {
		case err == nil:
			ready = append(ready, own...)
		case len(services) == 1 || time.Now().After(until):
			r.hold(own, err, p)
		default:
			try(services[:half])
			try(services[half:])
		}
	}
	try(services)
	return ready
}

// hold keeps frontends as they are until another try.
func (r *Reconciler) hold(keys []frontend.Key, err error, p *passReport) {
	p.failFrontends(err)
	for _, key := range keys {
		r.postpone(key, err)
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
		if f.Internal && !r.rules.Internal.Has(key) {
			c.AddInternal = append(c.AddInternal, key)
		}
		if has, is := r.rules.Sources[key], r.sourcesBefore(key, f); is != nil && !is.Equal(has) {
			c.Sources = append(c.Sources, filter.SourcesChange{Key: key, Was: has, Is: is})
		}
		if has := r.rules.Masquerade[key]; f.Masquerade > has {
			c.Masquerade = append(c.Masquerade, filter.MasqueradeChange{Key: key, Was: has, Is: f.Masquerade})
		}
	}
	return c
}

// sourcesBefore is who may connect to a frontend before the kernel serves it as wanted. As long as there is a real server
// that it should not have, which may be of another Service, that is nobody whom the present list keeps out.
func (r *Reconciler) sourcesBefore(key frontend.Key, f Frontend) *filter.Sources {
	if f.Sources == nil {
		return nil
	}
	for addr, real := range r.have.table[key].Reals {
		if _, stays := f.Entry.Reals[addr]; !stays && real.Weight > 0 {
			return r.common.of(f.Sources, r.rules.Sources[key])
		}
	}
	return f.Sources
}

// commonSources are lists of clients that two others have in common, by the IDs of these. One of thousands of networks takes some ten
// milliseconds to make, and all frontends of a Service want the same.
type commonSources map[[2]string]*filter.Sources

func (c commonSources) of(a, b *filter.Sources) *filter.Sources {
	pair := [2]string{a.ID(), b.ID()}
	both, made := c[pair]
	if !made {
		both = a.Both(b)
		c[pair] = both
	}
	return both
}

// release takes out of the table what nothing needs any more: masquerade for clients that have none from now on, the
// drop of clients who are served again, source ranges that admit fewer than wanted, and everything of frontends that the
// kernel does not serve any more. It returns the keys for which that failed. The keys are those whose kernel state is as
// it should be.
func (r *Reconciler) release(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
	var c filter.Change
	for _, key := range keys {
		f, wanted := r.state.Want(key)
		_, served := r.have.table[key]
		gone := !wanted && !served
		if gone && r.rules.Owned.Has(key) {
			c.DelOwned = append(c.DelOwned, key)
		}
		if (gone || wanted && !f.Internal) && r.rules.Internal.Has(key) {
			c.DelInternal = append(c.DelInternal, key)
		}
		if has := r.rules.Sources[key]; has != nil && (gone || wanted && !f.Sources.Equal(has)) {
			c.Sources = append(c.Sources, filter.SourcesChange{Key: key, Was: has, Is: f.Sources})
		}
		if has := r.rules.Masquerade[key]; (gone || wanted) && f.Masquerade < has {
			c.Masquerade = append(c.Masquerade, filter.MasqueradeChange{Key: key, Was: has, Is: f.Masquerade})
		}
	}
	if err := r.transact(ctx, c, p); err != nil {
		held := newKeySet(c.Keys()...).sorted()
		r.hold(held, err, p)
		return held
	}
	r.state.ForgetKept(c.DelOwned)
	return nil
}

// transact applies a change and remembers it once it is acknowledged. If somebody removed or changed the table, it is made
// anew with all that it should have.
func (r *Reconciler) transact(ctx context.Context, c filter.Change, p *passReport) error {
	switch {
	case c.Empty():
		return nil
	case r.unmade:
		return r.makeWith(ctx, c, p)
	}
	c = r.rules.Complete(c)
	err := r.Filter.Apply(ctx, c)
	if filter.IsOutOfStep(err) {
		whole := r.rules.Clone()
		whole.Commit(c)
		r.logForeignWriter()
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

// makeWith makes our table where there is none, with a change and with what is known of this node's pods: a run of nft is
// dear, and a node that starts has nothing to protect before the first frontend. Once that goes well, the frontends that failed
// are due again.
func (r *Reconciler) makeWith(ctx context.Context, c filter.Change, p *passReport) error {
	if r.podsDiffer() {
		c.Pods, c.SetPods = r.pods.networks, true
	}
	c.Away, c.SetAway = len(r.grace) > 0, true
	whole := r.rules.Clone()
	whole.Commit(c)
	err := r.Filter.Replace(ctx, whole)
	p.transaction(err)
	if err != nil {
		return err
	}
	r.rules, r.unmade, r.making = whole, false, backoff{}
	for key, b := range r.retry {
		b.at = time.Now()
		r.retry[key] = b
	}
	return nil
}

// makeFilter makes our table if there is none, and no frontend that was due has brought it along. Until that goes well it is tried
// less and less often, whatever passes there are: where nft does not work, a run of it may take long, and the frontends that are
// protected already have nothing to do with it.
func (r *Reconciler) makeFilter(ctx context.Context, p *passReport) {
	if !r.unmade {
		return
	}
	if !time.Now().Before(r.making.at) {
		if err := r.makeWith(ctx, filter.Change{}, p); err != nil {
			p.fail(err)
			r.making = r.making.after(time.Now(), err)
		}
	}
	if r.unmade {
		if r.making.at.Before(r.nextAudit) { // nothing else may be due then
			r.nextAudit = r.making.at
		}
	}
}
