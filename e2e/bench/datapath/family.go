package datapath

import (
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// family is one of IPv4 and IPv6.
type family struct {
	name string // as samples have it
	ipv4 bool
}

func families() []family { return []family{{"ipv4", true}, {"ipv6", false}} }

// node is the address of node1 on network A.
func (f family) node(n *topo.Topology) netip.Addr {
	if f.ipv4 {
		return n.Node1.A4
	}
	return n.Node1.A6
}

// podAt is where a pod serves.
func (f family) podAt(p *topo.Pod) netip.AddrPort {
	if f.ipv4 {
		return netip.AddrPortFrom(p.Addr4, topo.Port)
	}
	return netip.AddrPortFrom(p.Addr6, topo.Port)
}
