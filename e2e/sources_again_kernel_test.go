//go:build kernel

package e2e

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// again asks by SCTP from a port of its own, within the 10 s that conntrack remembers an association that was refused.
func (r *rig) again(t *testing.T, from visitor, to netip.AddrPort, port uint16) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	_, err := topo.AskAs(ctx, from.host, netip.AddrPortFrom(from.at(to.Addr()).Addr(), port), topo.SCTP, to)
	return err
}

// To conntrack what has the addresses and ports of an association that was refused a moment ago belongs to it. It begins a new
// one all the same, and the programs that speak SCTP like to use the same port always.
func (r *rig) testPortsUsedAgain(t *testing.T) {
	const fixed = 40123
	far := r.far()
	for _, to := range far.to {
		if err := r.again(t, far, netip.AddrPortFrom(to, newPort), fixed); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("nothing is served, but: %v", err)
		}
	}
	refused, seen := time.Now(), r.seen(t, far)
	r.serve(t, restricted("new", newPort, "deny-source-ranges", farRanges), agent.Ready(r.web1, r.Node1))
	r.awaitServing(t, newPort, r.all()...)
	for _, to := range far.to {
		if err := r.again(t, far, netip.AddrPortFrom(to, newPort), fixed); !silent(err) {
			t.Errorf("%s after it was refused: %v, want silence", since(refused), err)
		}
	}
	if n := r.seen(t, far); n > seen {
		t.Errorf("web-1 received %d packets of far", n-seen)
	}
	r.remove(t, restricted("new", newPort))
}
