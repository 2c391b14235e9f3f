package sync

import (
	"context"
	"errors"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Await notes what the node lacks without which Run cannot begin: it is the reason of Health, and the agent is alive and not ready.
// Equip ends it.
func (r *Reconciler) Await(what string) {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	r.board.awaited = what
}

// errNoLoop is why there is nothing to be told of what is served.
var errNoLoop = errors.New("it has read nothing yet")

func (r *Reconciler) awaits() bool {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	return r.board.awaited != ""
}

// Equipment is what a Reconciler may be given later than the rest of its Config: it takes a node that has IPVS and nftables.
type Equipment struct {
	Kernel         ipvs.Handle
	Filter         Filter
	RulesetChanged <-chan struct{}
	Renewed        <-chan struct{}
	Tune           func(ctx context.Context) error
}

// Equip gives the Reconciler what it works with. It is called before Run, if at all.
func (r *Reconciler) Equip(e Equipment) {
	r.Kernel, r.written.Filter, r.Tune = e.Kernel, e.Filter, e.Tune
	r.RulesetChanged, r.Renewed = e.RulesetChanged, e.Renewed
	r.Await("")
}
