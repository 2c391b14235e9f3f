package sync

import (
	"context"
	"fmt"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Await notes what the node lacks without which Run cannot begin: it is the reason of Health, and the agent is alive and not ready.
// Equip ends it.
func (r *Reconciler) Await(what string) {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	r.board.awaited = what
}

// Equipment is what a Reconciler may be given later than the rest of its Config: it takes a node that has IPVS and nftables.
type Equipment struct {
	Kernel         ipvs.Handle
	Filter         Filter
	RulesetChanged <-chan struct{}
	Tune           func(ctx context.Context) error
}

// Equip gives the Reconciler what it works with. It is called before Run, if at all.
func (r *Reconciler) Equip(e Equipment) {
	r.Kernel, r.written.Filter, r.RulesetChanged, r.Tune = e.Kernel, e.Filter, e.RulesetChanged, e.Tune
	r.Await("")
}

// tune has the settings of IPVS looked at. Without them clients are not masqueraded, whoever took them away: the node is not well
// until they are right, and what is served goes on being served.
func (r *Reconciler) tune(ctx context.Context, p *passReport) {
	if r.Tune == nil {
		return
	}
	err := r.Tune(ctx)
	if ctx.Err() != nil {
		return
	}
	r.untuned = nil
	if err != nil {
		r.untuned = fmt.Errorf("settings of IPVS: %w", err)
		p.fail(r.untuned)
	}
	r.state.SetUntuned(r.untuned)
}
