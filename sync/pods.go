package sync

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// takePods takes in what the Node says of its pods' networks, if it is the Node that is asked. A Node that has lost them
// says nothing about the pods that are there: the last ones stand.
func (r *Reconciler) takePods(n Node) {
	if !r.PodsByInterface && r.Pods == nil && len(n.PodCIDRs) > 0 {
		r.pods = filter.NormalPrefixes(n.PodCIDRs)
	}
	r.state.SetPodsKnown(r.PodsByInterface || len(r.pods) > 0)
}

// podsKnown reports whether anybody has said where this node's pods are. Until then what our table has is left alone.
func (r *Reconciler) podsKnown() bool {
	return r.PodsByInterface || r.Pods != nil || len(r.pods) > 0
}

// protectPods writes the networks of this node's pods to our nftables table.
func (r *Reconciler) protectPods(ctx context.Context, p *passReport) {
	if !r.podsDiffer() || time.Now().Before(r.podsRetry.at) {
		return
	}
	if err := r.transact(ctx, filter.Change{Pods: r.pods, SetPods: true}, p); err != nil {
		p.fail(err)
		r.podsRetry = r.podsRetry.after(time.Now(), err)
		return
	}
	r.podsRetry = backoff{}
}

func (r *Reconciler) podsDiffer() bool { return r.podsKnown() && !slices.Equal(r.pods, r.rules.Pods) }

// configuredPods are those of the configuration, nil if the Node object is asked.
func configuredPods(c Config) []netip.Prefix {
	if c.PodsByInterface {
		return nil
	}
	return filter.NormalPrefixes(c.Pods)
}
