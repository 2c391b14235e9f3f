// Package objects is what the benchmark serves: the same Services and EndpointSlices for everybody, made of a seed.
package objects

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Namespace of all objects.
const Namespace = "bench"

// Plan says which objects there are.
type Plan struct {
	Sizes     []int // ascending; the last is how many Services there are
	Endpoints int   // of each Service, IPv4
	Seed      uint64
}

// Addresses are those of the node that serve: one on each network of topo's node1.
func Addresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")}
}

// Service is the i-th, a NodePort Service without selector, with a node port chosen by the plan.
func (p Plan) Service(i int) *corev1.Service { panic("to be written") }

// Slice is the EndpointSlice of the i-th Service.
func (p Plan) Slice(i int) *discoveryv1.EndpointSlice { panic("to be written") }

// Endpoint is the j-th endpoint of the i-th Service. Those from Endpoints on are not in its slice: changes bring them.
func (p Plan) Endpoint(i, j int) netip.AddrPort { panic("to be written") }

// Frontends are the keys of the i-th Service, one for each of Addresses.
func (p Plan) Frontends(i int) []frontend.Key { panic("to be written") }

// Selector is the label selector of the objects that are there at a size of the plan.
func (p Plan) Selector(size int) string { panic("to be written") }
