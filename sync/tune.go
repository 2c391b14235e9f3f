package sync

import (
	"context"
	"fmt"
)

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
