package sync

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// podCare is what is known of where this node's pods are.
type podCare struct {
	// networks are those of the pods, as last said; normal. Empty while nobody has said anything, and where Filter tells
	// pods by their interface.
	networks []netip.Prefix
	// retry is the next try of writing them; zero if the last one went well.
	retry backoff
}

func newPodCare(c Config) podCare {
	if c.PodsByInterface {
		return podCare{}
	}
	return podCare{networks: filter.NormalPrefixes(c.Pods)}
}

// takePods takes in what the Node says of its pods' networks, if it is the Node that is asked. A Node that has lost them
// says nothing about the pods that are there: the last ones stand.
func (r *Reconciler) takePods(n Node) {
	if !r.PodsByInterface && r.Pods == nil && len(n.PodCIDRs) > 0 {
		r.pods.networks = filter.NormalPrefixes(n.PodCIDRs)
	}
}

// inheritPods takes what an agent before this one wrote for what nobody has said yet.
func (r *Reconciler) inheritPods() {
	if !r.podsSaid() {
		r.pods.networks = r.rules.Pods
	}
	r.sayWhosePodsAreKnown()
}

// podsSaid reports whether anybody has said where this node's pods are.
func (r *Reconciler) podsSaid() bool {
	return r.PodsByInterface || r.Pods != nil || len(r.pods.networks) > 0
}

// sayWhosePodsAreKnown tells the state of which families the pods can be told from other clients.
func (r *Reconciler) sayWhosePodsAreKnown() {
	known := FamiliesOf(r.pods.networks)
	if r.PodsByInterface {
		known = IPv4 | IPv6
	}
	r.state.SetPodsKnown(known)
}

// protectPods writes the networks of this node's pods to our nftables table. A failure is that of the Services with policy
// Local at most, and none of the node's.
func (r *Reconciler) protectPods(ctx context.Context, p *passReport) {
	if r.unmade {
		return // they come with the table
	}
	if !r.podsDiffer() {
		r.pods.retry = backoff{}
		return
	}
	if time.Now().Before(r.pods.retry.at) {
		return
	}
	if err := r.transact(ctx, filter.Change{Pods: r.pods.networks, SetPods: true}, p); err != nil {
		p.failFrontends(err)
		r.pods.retry = r.pods.retry.after(time.Now(), err)
		return
	}
	r.pods.retry = backoff{}
}

func (r *Reconciler) podsDiffer() bool {
	return r.podsSaid() && !slices.Equal(r.pods.networks, r.rules.Pods)
}
