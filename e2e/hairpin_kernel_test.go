//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// hostPort is where the servers with hostNetwork listen.
const hostPort = 9080

// place is a server with a Service of its own, so that a request says by its node port who has to answer.
type place struct {
	name     string
	nodePort uint16
	target   int32
	endpoint agent.Endpoint
	// where packets to it leave node 1: its bridge, network A, or not at all.
	behind exit
}

type exit uint8

const (
	bridge exit = iota + 1
	networkA
	nowhere // a server on node 1's own addresses
)

func (p place) service() agent.Service {
	s := agent.Service{Name: p.name}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		s.Ports = append(s.Ports, agent.Port{
			Name: strings.ToLower(string(protocol)), Protocol: protocol, NodePort: int32(p.nodePort), Target: p.target,
		})
	}
	return s
}

// asker is where requests come from.
type asker struct {
	name string
	*topo.Host
	// stays is the address that a server on node 1's own addresses sees, when addr was asked.
	stays func(addr netip.Addr) netip.Addr
}

func TestEveryPathLeadsToItsEndpoint(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	beside := r.pod(t, r.Node1, "beside", topo.WithSCTP())
	host1, host2 := r.hostServer(t, r.Node1, "host-1"), r.hostServer(t, r.Node2, "host-2")
	places := []place{
		{"web-1", 30101, topo.Port, agent.Ready(r.web1, r.Node1), bridge},
		{"beside", 30102, topo.Port, agent.Ready(beside, r.Node1), bridge},
		{"web-2", 30103, topo.Port, agent.Ready(r.web2, r.Node2), networkA},
		{"host-1", 30104, hostPort, agent.ReadyHost(host1), nowhere},
		{"host-2", 30105, hostPort, agent.ReadyHost(host2), networkA},
	}
	for _, p := range places {
		r.serve(t, p.service(), p.endpoint)
	}
	r.start(t, bothNetworks)
	askers := []asker{
		{"a pod of the node", r.web1.Host, ownAddress(r.web1)},
		{"the node", r.Node1, r.masqueradedOnLoopback},
		{"a pod of another node", r.web2.Host, ownAddress(r.web2)},
		{"a client outside", r.Client, r.clientAddress},
	}
	for _, on := range []bool{false, true} {
		must(t, r.BridgeNetfilter(t.Context(), on))
		for _, from := range askers {
			for _, to := range places {
				t.Run(fmt.Sprintf("bridge-nf-call %t, from %s to %s", on, from.name, to.name), func(t *testing.T) {
					r.testPath(t, from, to)
				})
			}
		}
	}
}

func (r *rig) hostServer(t *testing.T, node *topo.Host, name string) *topo.HostServer {
	t.Helper()
	s, err := r.AddHostServer(t.Context(), node, name, hostPort, topo.WithSCTP())
	must(t, err)
	return s
}

func ownAddress(p *topo.Pod) func(netip.Addr) netip.Addr {
	return func(addr netip.Addr) netip.Addr { return dst(p, addr).Addr() }
}

// clientAddress is the client's on the network of addr.
func (r *rig) clientAddress(addr netip.Addr) netip.Addr {
	return map[netip.Addr]netip.Addr{
		r.Node1.A4: r.Client.A4, r.Node1.A6: r.Client.A6, r.Node1.B4: r.Client.B4, r.Node1.B6: r.Client.B6,
	}[addr]
}

// masqueradedOnLoopback is the only masquerade on a path that ends on node 1: what the node sends itself goes out, over lo,
// which has no address for it, so that the kernel takes the first one of another device.
func (r *rig) masqueradedOnLoopback(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return r.Node1.A4
	}
	return r.Node1.A6
}

// testPath asks over every protocol and address, and looks whom the server took for the client: what leaves node 1 has
// its address on the way out, what stays there keeps the client's, for it meets no postrouting.
func (r *rig) testPath(t *testing.T, from asker, to place) {
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6} {
		client := from.stays(addr)
		switch to.behind {
		case bridge:
			client = r.Node1.PodCIDRs[0].Addr().Next()
			if addr.Is6() {
				client = r.Node1.PodCIDRs[1].Addr().Next()
			}
		case networkA:
			client = r.Node1.A4
			if addr.Is6() {
				client = r.Node1.A6
			}
		case nowhere:
		}
		for _, protocol := range []string{topo.TCP, topo.UDP, topo.SCTP} {
			a, err := topo.Ask(t.Context(), from.Host, protocol, netip.AddrPortFrom(addr, to.nodePort))
			if want := (topo.Answer{Pod: to.name, Client: client}); err != nil || a != want {
				t.Errorf("%s to %s: %v %v, want %v", protocol, addr, a, err, want)
			}
		}
	}
}
