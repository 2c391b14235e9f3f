package sync

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// auditRetry is how soon an audit that failed is tried again. The pause doubles with each further failure up to lastAuditRetry, which is how
// long a kernel that can be read again goes unnoticed at most.
const (
	auditRetry     = time.Second
	lastAuditRetry = 8 * time.Second
)

// audit begins to read the kernel back and repairs the memory of it. It reads all virtual servers at once, has our nftables
// table read beside the loop (see tableRead), and leaves the real servers to a round (see auditRound). The first one reads
// everything, and decides what is ours: what our table says, and what the Services ask for. It returns the keys that have to
// be looked at.
func (r *Reconciler) audit(ctx context.Context, p *passReport) []frontend.Key {
	r.auditWait = min(max(2*r.auditWait, auditRetry), lastAuditRetry)
	r.nextAudit, r.audited = time.Now().Add(r.auditWait), false
	if !r.adopted {
		if !r.inheritFilter(ctx, p) {
			return nil
		}
		r.protectPods(ctx, p) // the rest may take long on a full node
		return r.firstAudit(ctx, p)
	}
	r.readTable(ctx)
	r.protectPods(ctx, p)
	virtuals, err := r.Kernel.Virtuals(ctx)
	if err != nil {
		p.fail(fmt.Errorf("read the virtual servers of IPVS: %w", err))
		return nil
	}
	r.nextAudit, r.auditWait, r.audited = time.Now().Add(r.SyncPeriod), 0, true
	r.tune(ctx, p) // before anything is served by a module that was loaded anew
	r.state.Claim()
	r.recognize(ctx, virtuals, p)
	r.noteForeignExtra(virtuals)
	r.lookForListeners()
	due := r.state.Resolve() // first: what others have is neither read nor repaired
	due = slices.Concat(due, r.findDrift(ctx, virtuals, p), r.takeOver(ctx, virtuals, p))
	r.noteForeign(virtuals) // now that it is known what is wanted
	r.round.begin(time.Now(), r.SyncPeriod, r.have.table)
	if r.round.over() { // there is nothing of ours
		r.round.end(time.Now())
	}
	return append(due, r.goOn(ctx, p)...) // all of a small one
}

// firstAudit takes over what is there at the start: connections, weights and all.
func (r *Reconciler) firstAudit(ctx context.Context, p *passReport) []frontend.Key {
	table, err := r.Kernel.List(ctx)
	if err != nil {
		p.fail(fmt.Errorf("read the IPVS table: %w", err))
		return nil
	}
	r.nextAudit, r.auditWait, r.audited, r.adopted = time.Now().Add(r.SyncPeriod), 0, true, true
	virtuals := table.Virtuals()
	r.graceForAbsent(time.Now())
	r.state.Claim()
	r.recognize(ctx, virtuals, p)
	r.state.SetKept(r.rules.Owned)
	r.lookForListeners()
	r.noteForeignExtra(virtuals)
	r.state.Resolve()
	ours := make(keySet, len(r.state.want))
	for key := range r.state.want {
		ours.add(key)
	}
	lost := newKeySet()
	for key := range r.rules.Owned {
		ours.add(key)
		if _, wanted := r.state.Want(key); !wanted {
			r.orphans.add(key)
		}
		if _, listed := table[key]; !listed {
			lost.add(key) // a dump may miss entries: only the kernel's own answer counts
		}
	}
	keys := ours.sorted()
	for _, key := range keys {
		if entry, listed := table[key]; listed {
			r.have.put(key, entry)
			r.flows.adopt(key)
		}
	}
	r.reread(ctx, lost, p)
	keys = append(keys, r.takeOver(ctx, virtuals, p)...)
	r.noteForeign(virtuals)
	r.round.failed = len(r.unread) > 0
	r.round.end(time.Now())
	return keys
}

// takeOver makes ours what a proxy before us left on node ports, and on extra ports that Services ask for, if that is asked for: once,
// with the first audit that can. What nobody wants any more drains and goes. It is marked as ours first: whoever starts after a crash
// goes on with it.
func (r *Reconciler) takeOver(ctx context.Context, virtuals map[frontend.Key]ipvs.VirtualServer, p *passReport) []frontend.Key {
	if !r.Adopt || r.tookOver {
		return nil
	}
	left := newKeySet(append(r.state.foreignExtra(), Foreign(virtuals, r.own, r.NodePortRange, r.isOurs)...)...).sorted()
	if err := r.transact(ctx, filter.Change{AddOwned: left}, p); err != nil {
		p.fail(fmt.Errorf("take over %d virtual servers that are not ours: %w", len(left), err))
		return nil
	}
	r.tookOver = true
	for _, key := range left {
		r.orphans.add(key)
		r.flows.adopt(key)
	}
	r.reread(ctx, newKeySet(left...), p)
	r.noteForeignExtra(virtuals)
	if len(left) > 0 {
		r.log.Info("Took over virtual servers: those that no Service asks for drain and go", "frontends", left)
	}
	return left
}

// graceForAbsent gives the addresses that an agent before this one served, and that the node lacks now, their grace: it
// may have restarted in the middle of a flap.
func (r *Reconciler) graceForAbsent(now time.Time) {
	places := slices.Clone(r.state.Places())
	for key := range r.rules.Owned {
		_, known := r.grace[key.Addr]
		if !known && !slices.Contains(r.local, key.Addr) && !slices.Contains(r.state.Addresses(), key.Addr) {
			r.grace[key.Addr] = now.Add(r.AddressGrace)
			places = append(places, nodeaddr.Place{Addr: key.Addr, Primary: slices.Contains(r.primary, key.Addr)})
		}
	}
	r.state.SetPlaces(places)
}

// findDrift compares memory and the kernel's virtual servers. A difference is confirmed by asking for the one virtual
// server, because a dump is no snapshot.
func (r *Reconciler) findDrift(ctx context.Context, virtuals map[frontend.Key]ipvs.VirtualServer, p *passReport) []frontend.Key {
	var suspects []frontend.Key
	for key, known := range r.have.table {
		if listed, isThere := virtuals[key]; !isThere || listed != known.VirtualServer {
			suspects = append(suspects, key)
		}
	}
	for key := range virtuals {
		if _, known := r.have.table[key]; !known && r.isOurs(key) {
			suspects = append(suspects, key)
		}
	}
	slices.SortFunc(suspects, frontend.Key.Compare)
	return slices.DeleteFunc(suspects, func(key frontend.Key) bool { return !r.drifted(ctx, key, p) })
}

// drifted reads one virtual server exactly and reports whether the kernel has it otherwise than we remembered.
func (r *Reconciler) drifted(ctx context.Context, key frontend.Key, p *passReport) bool {
	known, remembered := r.have.table[key]
	r.reread(ctx, newKeySet(key), p)
	now, isThere := r.have.table[key]
	if isThere == remembered && now.Equal(known) {
		return false
	}
	p.drift++
	return true
}

// rulesetGeneration is the present generation of the ruleset, 0 if it is not known.
func (r *Reconciler) rulesetGeneration() uint32 {
	if r.Generation == nil {
		return 0
	}
	generation, err := r.Generation()
	if err != nil {
		r.log.V(1).Info("The generation of nftables cannot be read: every audit reads the whole table", "error", err.Error())
		return 0
	}
	return generation
}

// inheritFilter takes what our table has for the record of what is ours, and makes it anew if it is damaged or of another
// layout. What it says of frontends that are not ours somebody else wrote. It reports whether the table could be read. One that cannot be
// made anew is tried again later: what is protected by it is followed meanwhile.
func (r *Reconciler) inheritFilter(ctx context.Context, p *passReport) bool {
	generation := r.rulesetGeneration()
	found, err := r.Filter.Read(ctx)
	if err != nil {
		p.fail(err)
		return false
	}
	// Our own writes since then are read once more at the next audit; somebody else's are not missed.
	r.rules, r.generation = found.Rules.OfOwned(), generation
	switch {
	case !found.Present:
		r.unmade, r.forgotten = true, true // the first change makes it, with all that it brings
	case found.Intact && r.rules.Equal(found.Rules), time.Now().Before(r.reading.mending.at):
	default:
		if r.reading.err = r.replaceTable(ctx, p); r.reading.err != nil {
			p.fail(r.reading.err)
			r.nextLook = r.reading.mending.at
		}
	}
	r.inheritPods()
	return true
}

func (r *Reconciler) logForeignWriter() {
	r.log.Info("Somebody else changed our nftables table, which is put right", "table", filter.Name)
}

// noteForeign remembers the virtual servers that are not ours although they keep a node port of this node open.
func (r *Reconciler) noteForeign(virtuals map[frontend.Key]ipvs.VirtualServer) {
	r.foreign = Foreign(virtuals, r.own, r.NodePortRange, r.isOurs)
}

// isOurs reports whether a frontend is wanted, or ours by our table.
func (r *Reconciler) isOurs(key frontend.Key) bool {
	_, wanted := r.state.Want(key)
	return wanted || r.rules.Owned.Has(key)
}

// Foreign lists the virtual servers of a kernel table that stand on a node port of one of the node's own addresses and are
// not ours: each keeps a port open that nobody here knows of. Beside kube-proxy in IPVS mode a node has the ClusterIPs, too,
// and their ports may be any: those are not its own (see nodeaddr.Address.OfServices).
func Foreign[V any](virtuals map[frontend.Key]V, own []netip.Addr, nodePorts allocator.Range, ours func(frontend.Key) bool) []frontend.Key {
	var foreign []frontend.Key
	for key := range virtuals {
		if nodePorts.Contains(key.Port) && !ours(key) && slices.Contains(own, key.Addr) {
			foreign = append(foreign, key)
		}
	}
	slices.SortFunc(foreign, frontend.Key.Compare)
	return foreign
}
