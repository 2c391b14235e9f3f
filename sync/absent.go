package sync

import (
	"context"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// guardAbsent has packets to an address that vanished a moment ago dropped where they belong to a connection of ours, as long as the
// address is in its grace: see filter.Rules. A failure is no frontend's: all are served as before.
func (r *Reconciler) guardAbsent(ctx context.Context, p *passReport) {
	switch {
	case r.unmade: // it comes with the table
	case !r.absentDiffers():
		r.absent = backoff{}
	case time.Now().Before(r.absent.at):
	default:
		if err := r.transact(ctx, filter.Change{Away: len(r.grace) > 0, SetAway: true}, p); err != nil {
			p.fail(err)
			r.absent = r.absent.after(time.Now(), err)
			return
		}
		r.absent = backoff{}
	}
}

// absentDiffers reports that our table has it otherwise.
func (r *Reconciler) absentDiffers() bool { return r.rules.Away != (len(r.grace) > 0) }
