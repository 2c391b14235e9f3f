package sync

import (
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/healthcheck"
)

// HealthChecks answers the health checks of load balancers.
type HealthChecks interface {
	// Set makes what is answered equal to want, and returns why some of it is not. What is answered already goes on being
	// answered. It neither blocks nor keeps want.
	Set(want map[netip.AddrPort]healthcheck.Check) (failed map[netip.AddrPort]error)
}

// listeners is what the reconciler knows of the health checks that are answered.
type listeners struct {
	retry map[netip.AddrPort]backoff // those that cannot be listened on
	next  time.Time                  // when to look after them even if nothing changes
	open  int
}

// listen has the wanted health checks answered, after the node ports: a load balancer should be told of an endpoint once
// it can be reached. What cannot be listened on is tried again, less and less often; all are looked after once in a
// sync period.
func (r *Reconciler) listen() {
	if r.HealthChecks == nil {
		return
	}
	want, changed := r.state.Checks()
	now, l := time.Now(), &r.listeners
	if !changed && now.Before(l.next) {
		return
	}
	failed := r.HealthChecks.Set(want)
	l.next = now.Add(r.SyncPeriod)
	retry := make(map[netip.AddrPort]backoff, len(failed))
	for addr, err := range failed {
		b := l.retry[addr]
		if !now.Before(b.at) { // else it was tried before its time, because of a change elsewhere
			b = b.after(now, err)
		}
		retry[addr] = b
		if b.at.Before(l.next) {
			l.next = b.at
		}
	}
	l.retry = retry
	r.state.SetListenErrors(failed)
	if open := len(want) - len(failed); open != l.open {
		l.open = open
		r.log.Info("Health checks of load balancers are answered", "listeners", open, "failing", len(failed))
	}
}
