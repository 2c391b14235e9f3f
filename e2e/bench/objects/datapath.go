package objects

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// dataPathName is the name of the Service that requests are sent to, and its tier.
const dataPathName = "datapath"

// DataPath is a dual-stack Service with one endpoint, a Pod on the node that is measured, and its slices.
func (p Plan) DataPath() (*corev1.Service, []*discoveryv1.EndpointSlice) {
	service := newService(dataPathName, dataPathName, p.NodePort(p.Largest()), corev1.IPFamilyPolicyRequireDualStack,
		corev1.IPv4Protocol, corev1.IPv6Protocol)
	var both []*discoveryv1.EndpointSlice
	for _, family := range []struct {
		kind discoveryv1.AddressType
		addr netip.Addr
	}{{discoveryv1.AddressTypeIPv4, DataPathPod()[0]}, {discoveryv1.AddressTypeIPv6, DataPathPod()[1]}} {
		s := newSlice(service, family.kind)
		s.Endpoints = []discoveryv1.Endpoint{newEndpoint(s, 0, family.addr, Node)}
		both = append(both, s)
	}
	return service, both
}

// Node is the name of the node that is measured: topo's node1.
const Node = "node1"

// DataPathPod has the addresses of the first Pod of topo's node1.
func DataPathPod() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("fd44:1::2")}
}

// DataPathSelector is Selector with the Service of the data path.
func (p Plan) DataPathSelector(size int) string {
	s := p.Selector(size)
	return s[:len(s)-1] + "," + dataPathName + ")"
}
