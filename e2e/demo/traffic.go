package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// traffic is load from the client on Service web: IPv4 over network A and IPv6 over network B.
type traffic []*topo.Load

func (c *cast) startTraffic(ctx context.Context) traffic {
	var t traffic
	for _, addr := range []netip.Addr{c.net.Node1.A4, c.net.Node1.B6} {
		// The pause leaves the one CPU of the guest to the agent as well.
		l := &topo.Load{From: c.net.Client, To: netip.AddrPortFrom(addr, webPort), Workers: 2, Pause: 50 * time.Millisecond}
		l.Start(ctx)
		t = append(t, l)
	}
	return t
}

// tally is the sum so far.
func (t traffic) tally() topo.Tally { return t.sum((*topo.Load).Tally) }

// stop waits for the answers under way.
func (t traffic) stop() topo.Tally { return t.sum((*topo.Load).Stop) }

func (t traffic) sum(of func(*topo.Load) topo.Tally) topo.Tally {
	sum := topo.Tally{Pods: map[string]int{}}
	for _, l := range t {
		tally := of(l)
		for pod, n := range tally.Pods {
			sum.Pods[pod] += n
		}
		sum.Failures = append(sum.Failures, tally.Failures...)
	}
	return sum
}

// more waits until n more requests have ended, so that those that were under way have too.
func (t traffic) more(ctx context.Context, n int) error {
	before := t.ended()
	for t.ended() < before+n {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func (t traffic) ended() int {
	tally := t.tally()
	return tally.Answers() + len(tally.Failures)
}
