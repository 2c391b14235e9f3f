//go:build kernel

package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// That new associations reach both pods over both networks is a promise of
// TestANodePortIsServedOnTheChosenAddressesAndNowhereElse.
func TestAnSCTPAssociationLivesOnWhenItsPodLeaves(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	stays := r.pod(t, r.Node1, "stays", topo.WithSCTP())
	s := agent.Service{Name: "web", Ports: []agent.Port{{NodePort: nodePort, Protocol: corev1.ProtocolSCTP}}}
	staying := agent.Ready(stays, r.Node1)
	r.serve(t, s, append(r.both(), staying)...)
	r.start(t, bothNetworks)

	addrs := []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6}
	leaving := []*topo.Pod{r.web1, r.web2}
	open := map[net.Conn]string{}
	for _, addr := range addrs {
		for _, pod := range leaving {
			open[r.associate(t, at(addr), pod.Name)] = pod.Name
		}
	}
	must(t, r.Endpoints(s, []agent.Endpoint{staying}))
	drain := func() error {
		for _, addr := range addrs {
			weights, err := r.weights(t.Context(), frontend.NewKey(addr, frontend.SCTP, nodePort))
			want := map[netip.AddrPort]uint32{dst(r.web1, addr): 0, dst(r.web2, addr): 0, dst(stays, addr): 1}
			if err == nil && !maps.Equal(weights, want) {
				err = fmt.Errorf("the weights of %s are %v", addr, weights)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	eventually(t, "weight 0", drain)
	for _, addr := range addrs {
		r.answersOnly(t, topo.SCTP, at(addr), 4, stays.Name)
	}
	holds(t, longerThanSettle, "the real servers stay at weight 0", drain)
	for c, pod := range open {
		if got := askOn(t, c); got != pod {
			t.Errorf("the association with %s over %s is answered by %s", pod, c.RemoteAddr(), got)
		}
		must(t, c.Close())
	}
	closed := time.Now()
	for _, pod := range leaving {
		r.awaitWeight(t, pod, -1)
	}
	t.Logf("%s after the associations were closed the real servers were deleted", since(closed))
}

// associate opens an association with a pod. Under round robin a few tries reach it.
func (r *rig) associate(t *testing.T, to netip.AddrPort, pod string) net.Conn {
	t.Helper()
	for range 3 {
		c, err := r.Client.Dial(t.Context(), topo.SCTP, to)
		must(t, err)
		if askOn(t, c) == pod {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		must(t, c.Close())
	}
	t.Fatalf("three associations with %s, and none with %s", to, pod)
	return nil
}
