// Package allocator says who owns a port of this node.
//
// Services, health checks and annotations claim frontends: an address, a protocol and a port. Two may claim the same
// one: the API server allocates node ports cluster-wide, but duplicates exist all the same (a restored etcd, a changed
// range; kubernetes pkg/registry/core/service/portallocator/controller/repair.go reports them). The Ledger arbitrates.
//
//	claims ─► Ledger.Set ─► owners whose grants changed
//	                ├─────► Holder(frontend), Claimants(frontend), Claims()
//	                └─────► Ports() ─► Count, Free (which ports of a band are used, which can be had)
//
// The order of claims decides alone, never who came first to this process: the same claims give the same owners on
// every node, after every restart and in every order of events. The package is pure and knows nothing of Kubernetes,
// except how its API server divides a Range of node ports into bands.
package allocator

import (
	"cmp"
	"strconv"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// ID names a claimant: a Service by namespace and name.
type ID struct {
	Namespace, Name string
}

// String is NAMESPACE/NAME.
func (id ID) String() string { return id.Namespace + "/" + id.Name }

// Compare orders by namespace, then name.
func (id ID) Compare(o ID) int {
	return cmp.Or(cmp.Compare(id.Namespace, o.Namespace), cmp.Compare(id.Name, o.Name))
}

// Owner is a claimant with what decides between two of them.
type Owner struct {
	ID
	UID string
	// Created is when the object was made; the zero time is older than any other.
	Created time.Time
}

// Order sorts owners, the one with the better right first: age, then namespace and name, then UID.
func (o Owner) Order(p Owner) int {
	return cmp.Or(o.Created.Compare(p.Created), o.Compare(p.ID), cmp.Compare(o.UID, p.UID))
}

// Kind says what a claim is for. A lower kind beats a higher one whatever the owners' age.
type Kind uint8

// NodePort is a port of a Service's spec, HealthCheck the port on which its load balancer asks, ExtraPort one that its
// annotation asks for beside these.
const (
	NodePort Kind = iota
	HealthCheck
	ExtraPort
)

// String is what a person calls it, for example "node port"; "kind-N" for a number without a name here.
func (k Kind) String() string {
	switch k {
	case NodePort:
		return "node port"
	case HealthCheck:
		return "health check"
	case ExtraPort:
		return "extra port"
	}
	return "kind-" + strconv.Itoa(int(k))
}

// Claim is an owner's wish for one frontend.
type Claim struct {
	Key  frontend.Key
	Kind Kind
}

// Claimant is an owner with the kind of its claim on one frontend.
type Claimant struct {
	Owner
	Kind Kind
}

// order sorts claimants of one frontend, the holder first: kind, then as their owners.
func (c Claimant) order(o Claimant) int {
	return cmp.Or(cmp.Compare(c.Kind, o.Kind), c.Order(o.Owner))
}
