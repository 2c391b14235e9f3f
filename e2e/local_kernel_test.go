//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// localWeb is a Service with policy Local on all protocols.
func localWeb() agent.Service {
	return agent.Service{Name: "web", Policy: corev1.ServiceExternalTrafficPolicyLocal, Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort},
		{Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
		{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP},
	}}
}

func protocols() []string { return []string{topo.TCP, topo.UDP, topo.SCTP} }

// own are the node's addresses, each with the one that the client has there.
func (r *rig) own() map[netip.Addr]netip.Addr {
	return map[netip.Addr]netip.Addr{
		r.Node1.A4: r.Client.A4, r.Node1.B4: r.Client.B4, r.Node1.A6: r.Client.A6, r.Node1.B6: r.Client.B6,
	}
}

// saw requires that a pod answers all requests to the node port, and that it takes client for who asked.
func (r *rig) saw(t *testing.T, from *topo.Host, addr netip.Addr, pod *topo.Pod, client netip.Addr) {
	t.Helper()
	const requests = 4
	for _, protocol := range protocols() {
		tally := topo.Count(t.Context(), from, protocol, at(addr), requests)
		if tally.Pods[pod.Name] != requests || tally.Clients[client] != requests {
			t.Errorf("%s from %s to %s: %v, seen from %v; want %s to see %s", protocol, from.Name, addr, tally, tally.Clients, pod.Name, client)
		}
	}
}

// bridge and network are the node's addresses on the routes to its own pods and to those of node 2: what a masqueraded
// client looks like.
func (r *rig) bridge(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return r.Node1.PodCIDRs[0].Addr().Next()
	}
	return r.Node1.PodCIDRs[1].Addr().Next()
}

func (r *rig) network(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return r.Node1.A4
	}
	return r.Node1.A6
}

// dropped requires that nobody answers and nobody refuses, whatever the protocol: the client hears nothing at all.
func (r *rig) dropped(t *testing.T, from *topo.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for addr := range r.own() {
		for _, protocol := range protocols() {
			all.Go(func() {
				answer, err := topo.Ask(ctx, from, protocol, at(addr))
				if late, ok := errors.AsType[net.Error](err); !ok || !late.Timeout() {
					t.Errorf("%s from %s to %s: %v, %v; want silence", protocol, from.Name, addr, answer, err)
				}
			})
		}
	}
	all.Wait()
}

// awaitInternal returns when all frontends are in our table, and it says whether they are for the node and its pods alone. One that has
// nothing does not say that they are for everybody.
func (r *rig) awaitInternal(t *testing.T, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("frontends are internal: %v", want), func() error {
		state, err := r.rules(t.Context())
		if err != nil {
			return err
		}
		for addr := range r.own() {
			for _, p := range frontend.Protocols() {
				k := key(addr, p)
				if !state.Rules.Owned.Has(k) {
					return fmt.Errorf("%s is not in it", k)
				}
				if state.Rules.Internal.Has(k) != want {
					return fmt.Errorf("%s is not so", k)
				}
			}
		}
		return nil
	})
}

func (r *rig) testLocalEndpoint(t *testing.T, beside *topo.Pod) {
	for addr, client := range r.own() {
		r.saw(t, r.Client, addr, r.web1, client)
		r.saw(t, beside.Host, addr, r.web1, r.bridge(addr))
		r.saw(t, r.web1.Host, addr, r.web1, r.bridge(addr)) // hairpin
		if a, err := topo.Ask(t.Context(), r.Node1, topo.TCP, at(addr)); err != nil || a.Pod != "web-1" {
			t.Errorf("from the node to %s: %v, %v", addr, a, err)
		}
	}
}

// Upstream: KEP-3866 and kubernetes pkg/proxy/iptables, which its IPVS mode does not do (kubernetes issue 97081).
func TestPolicyLocalKeepsTheClientsAddressAndNeverLeavesTheNodeForClientsOutside(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	beside := r.pod(t, r.Node1, "beside", topo.WithSCTP())
	here, there := agent.Ready(r.web1, r.Node1), agent.Ready(r.web2, r.Node2)
	r.serve(t, localWeb(), here, there)
	r.start(t, bothNetworks)
	var open []net.Conn
	// Whether a bridge shows its packets to netfilter decides whether the answer of a pod to the one beside it passes IPVS.
	for _, bridged := range []bool{false, true} {
		must(t, r.BridgeNetfilter(t.Context(), bridged))
		t.Run(fmt.Sprintf("with an endpoint on the node it sees clients outside, and pods of the node masqueraded; bridge netfilter %v", bridged),
			func(t *testing.T) { r.testLocalEndpoint(t, beside) })
	}
	for addr := range r.own() {
		c, pod := r.dial(t, at(addr))
		if pod != "web-1" {
			t.Errorf("%s answered", pod)
		}
		open = append(open, c)
	}
	must(t, r.Endpoints(localWeb(), []agent.Endpoint{there}))
	r.awaitInternal(t, true)
	t.Run("without one, new connections from outside are dropped, and old ones live on", func(t *testing.T) {
		r.dropped(t, r.Client)
		r.dropped(t, r.web2.Host) // a pod of another node is outside too
		for _, c := range open {
			if pod := askOn(t, c); pod != "web-1" {
				t.Errorf("%s answered on a connection to web-1", pod)
			}
		}
	})
	internal := func(t *testing.T) {
		for addr := range r.own() {
			for _, from := range []*topo.Host{beside.Host, r.web1.Host, r.Node1} {
				r.saw(t, from, addr, r.web2, r.network(addr))
			}
		}
	}
	t.Run("without one, the node and its pods reach the other node's, masqueraded", internal)
	t.Run("pods may be told by their bridge", func(t *testing.T) {
		r.stop(t)
		r.start(t, bothNetworks, "--detect-local-mode=BridgeInterface", "--pod-bridge-interface="+topo.DevPods)
		// The Node still says the networks of the pods, so packets alone do not tell how they are told from others.
		must(t, r.Node1.Do(func() error {
			table, err := filter.Open(filter.Options{PodInterface: topo.DevPods})
			if err != nil {
				return err
			}
			state, err := table.Read(t.Context())
			if err == nil && !state.Intact {
				err = errors.New("our table does not tell pods by their bridge")
			}
			return err
		}))
		internal(t)
		r.dropped(t, r.Client)
		for _, c := range open {
			if pod := askOn(t, c); pod != "web-1" {
				t.Errorf("%s answered on a connection to web-1, after a restart", pod)
			}
		}
	})
	must(t, r.Endpoints(localWeb(), []agent.Endpoint{here, there}))
	r.awaitInternal(t, false)
	t.Run("with one again it is as before", func(t *testing.T) {
		for addr, client := range r.own() {
			r.saw(t, r.Client, addr, r.web1, client)
		}
	})
}

func TestMasqueradeRemoteShowsLocalEndpointsTheClient(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	beside := r.pod(t, r.Node1, "beside")
	s := localWeb()
	s.Policy = corev1.ServiceExternalTrafficPolicyCluster
	r.serve(t, s, agent.Ready(r.web1, r.Node1))
	r.start(t, bothNetworks, "--masquerade=remote")
	for addr, client := range r.own() {
		r.saw(t, r.Client, addr, r.web1, client)
		r.saw(t, beside.Host, addr, r.web1, r.bridge(addr))
		r.saw(t, r.web1.Host, addr, r.web1, r.bridge(addr))
	}
	must(t, r.Endpoints(s, []agent.Endpoint{agent.Ready(r.web2, r.Node2)}))
	eventually(t, "web-2 alone gets new connections", func() error {
		for addr := range r.own() {
			for _, p := range frontend.Protocols() {
				weights, err := r.weights(t.Context(), key(addr, p))
				if err != nil {
					return err
				}
				if weights[dst(r.web2, addr)] != 1 || weights[dst(r.web1, addr)] != 0 {
					return fmt.Errorf("%s: %v", key(addr, p), weights)
				}
			}
		}
		return nil
	})
	for addr := range r.own() {
		r.saw(t, r.Client, addr, r.web2, r.network(addr))
		r.saw(t, beside.Host, addr, r.web2, r.network(addr))
	}
	state, err := r.rules(t.Context())
	must(t, err)
	if m := state.Rules.Masquerade[key(r.Node1.A4, frontend.TCP)]; m != filter.MasqueradeRemote {
		t.Errorf("masqueraded: %s", m)
	}
}
