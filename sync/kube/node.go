package kube

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// translateNode keeps the Node's addresses in the order of its status. Host names among them are not addresses.
func translateNode(node *corev1.Node) (sync.Node, []sync.Problem) {
	result := sync.Node{Name: node.Name}
	r := &report{object: "Node " + node.Name}
	for _, a := range node.Status.Addresses {
		var into *[]netip.Addr
		switch a.Type {
		case corev1.NodeInternalIP:
			into = &result.InternalIPs
		case corev1.NodeExternalIP:
			into = &result.ExternalIPs
		default:
			continue
		}
		addr, err := netip.ParseAddr(a.Address)
		if err != nil || addr.Is4In6() || addr.Zone() != "" {
			r.invalid("%s %q is not an IPv4 or IPv6 address; it is not used", a.Type, a.Address)
			continue
		}
		*into = append(*into, addr)
	}
	return result, r.problems
}
