// Package objects is what the benchmark serves: the same Services and EndpointSlices for everybody, made of a seed.
//
//	Plan (sizes, endpoints, seed) ─► Service(i), Slice(i) ─► API server ─► gauge (Selector) ─► a subject
//	                              └► Frontends(i), Endpoint(i, j) ─► what the kernel should have
//
// Nothing of it is measured, so nothing of it is clever: node ports are a permutation of the API server's whole range, endpoints
// are scattered over a network of Pods, and each slice is as kube-controller-manager would have written it.
package objects

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Namespace of all objects.
const Namespace = "bench"

// TierLabel says from which size on a Service is there, or that it is the one of the data path.
const TierLabel = "kube-ipvs.io/bench-tier"

// The range of node ports of an API server that was not told another.
const (
	firstNodePort = 30000
	lastNodePort  = 32767
)

// MaxServices is how many Services a plan can have, with the one of the data path in the range of node ports.
const MaxServices = lastNodePort - firstNodePort

// podNetwork is where the endpoints are: 10.128.0.0/10, which meets no other network of the lab.
const (
	podNetwork     = 10<<24 | 128<<16
	podNetworkBits = 22
)

// EndpointsEach is how many addresses every Service has for its endpoints, those that come by changes included.
const EndpointsEach = 1024

// port that the endpoints serve on; the Service's is 80.
const port = 8080

// Plan says which objects there are.
type Plan struct {
	Sizes     []int  `json:"sizes"`     // ascending; the last is how many Services there are
	Endpoints int    `json:"endpoints"` // of each Service, IPv4
	Seed      uint64 `json:"seed"`
}

// Validate says what cannot be made.
func (p Plan) Validate() error {
	switch {
	case len(p.Sizes) == 0:
		return fmt.Errorf("no sizes")
	case !slices.IsSorted(p.Sizes) || len(slices.Compact(slices.Clone(p.Sizes))) != len(p.Sizes):
		return fmt.Errorf("sizes %v do not ascend", p.Sizes)
	case p.Sizes[0] < 1 || p.Largest() > MaxServices:
		return fmt.Errorf("sizes %v are not within 1 and %d, the node ports that there are", p.Sizes, MaxServices)
	case p.Endpoints < 1 || p.Endpoints > 100:
		return fmt.Errorf("%d endpoints: a slice has 1 to 100", p.Endpoints)
	}
	return nil
}

// Largest is the number of Services.
func (p Plan) Largest() int { return p.Sizes[len(p.Sizes)-1] }

// Addresses are those of the node that serve: one on each network of topo's node1.
func Addresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")}
}

// Endpoint is the j-th endpoint of the i-th Service. Those from Endpoints on are not in its slice: changes bring them.
// No two endpoints of a plan have the same address as long as j is less than EndpointsEach.
func (p Plan) Endpoint(i, j int) netip.AddrPort {
	const mask = 1<<podNetworkBits - 1
	factor := uint32(p.random(saltEndpoints).Uint64())&mask | 1 // odd, and so invertible: different numbers stay different
	host := (uint32(i*EndpointsEach+j)*factor + uint32(p.Seed)) & mask
	a := podNetwork | host
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), port)
}

// Frontends are the keys of the i-th Service, one for each of Addresses.
func (p Plan) Frontends(i int) []frontend.Key {
	var keys []frontend.Key
	for _, a := range Addresses() {
		keys = append(keys, frontend.NewKey(a, frontend.TCP, p.NodePort(i)))
	}
	return keys
}

// NodePort is that of the i-th Service; the one after the last is the data path's.
func (p Plan) NodePort(i int) uint16 {
	const ports = lastNodePort - firstNodePort + 1
	random := p.random(saltPorts)
	factor, start := random.IntN(ports), random.IntN(ports)
	for !coprime(factor, ports) {
		factor++
	}
	return uint16(firstNodePort + (i*factor+start)%ports)
}

// coprime says that multiples of a pass every number below b before they come back.
func coprime(a, b int) bool {
	for b != 0 {
		a, b = b, a%b
	}
	return a == 1
}

// Selector is the label selector of the objects that are there at a size of the plan.
func (p Plan) Selector(size int) string {
	var tiers []string
	for _, s := range p.Sizes {
		if s <= size {
			tiers = append(tiers, tierName(s))
		}
	}
	return TierLabel + " in (" + strings.Join(tiers, ",") + ")"
}

// tier is the label of the i-th Service.
func (p Plan) tier(i int) string {
	for _, size := range p.Sizes {
		if i < size {
			return tierName(size)
		}
	}
	return tierName(p.Largest())
}

func tierName(size int) string { return fmt.Sprintf("up-to-%d", size) }

// What a plan's randomness is for: each use has a sequence of its own.
const (
	saltPorts = iota + 1
	saltEndpoints
	saltChanges
)

func (p Plan) random(salt uint64) *rand.Rand { return rand.New(rand.NewPCG(p.Seed, salt)) }

// Order is a random order of the first size Services, for changes one after the other.
func (p Plan) Order(size int) []int { return p.random(saltChanges).Perm(size) }
