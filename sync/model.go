package sync

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// ServiceID names a Service.
type ServiceID = allocator.ID

// Service is what the agent wants to know of one Service: its ports that are open on nodes, and their endpoints.
type Service struct {
	ID  ServiceID
	UID string
	// Created decides between Services that claim the same port: the older one wins. Zero is the oldest.
	Created time.Time
	// Families are the address families that the Service is for; it is not served on addresses of another one.
	Families Families
	// Networks narrows the addresses that serve the Service to those that it selects; nil leaves all of them.
	Networks *nodeaddr.Spec
	// Sources says who may connect; nil is everybody.
	Sources *filter.Sources
	// Ports has the ports with a node port, in the order of the spec; none for a Service that opens no port on nodes.
	Ports []ServicePort
	// HealthCheckNodePort is where the Service's load balancer asks this node over HTTP whether it has endpoints; 0 if it
	// does not.
	HealthCheckNodePort uint16
	// Unserved are the node ports and the health check port that the API server gave it and that cannot be served as the
	// Service is written: they are taken all the same.
	Unserved []uint16
	// LocalReady are the addresses of the ready endpoints on this node, on whatever port, without duplicates, sorted; none
	// unless there is a HealthCheckNodePort.
	LocalReady []netip.Addr
	// Settings are what its author chose beyond what Kubernetes knows: for people, they decide nothing here.
	Settings []Setting
	// Problems are the parts of this Service and its EndpointSlices that are not used as written.
	Problems []Problem
}

// Empty reports that the Service asks nothing of this node, rightly or not.
func (s Service) Empty() bool {
	return len(s.Ports) == 0 && s.HealthCheckNodePort == 0 && len(s.Problems) == 0
}

// servedAt reports whether the Service is served at an address that serves.
func (s Service) servedAt(p nodeaddr.Place) bool {
	return s.Families.Has(p.Addr) && (s.Networks == nil || s.Networks.Selects(p))
}

// Families is a set of address families (a Service's spec.ipFamilies).
type Families uint8

// The families.
const (
	IPv4 Families = 1 << iota
	IPv6
)

// Has reports whether the family of addr is in the set.
func (f Families) Has(addr netip.Addr) bool {
	if addr.Is4() {
		return f&IPv4 != 0
	}
	return f&IPv6 != 0
}

// FamiliesOf are those of networks.
func FamiliesOf(networks []netip.Prefix) Families {
	var f Families
	for _, p := range networks {
		if p.Addr().Is4() {
			f |= IPv4
		} else {
			f |= IPv6
		}
	}
	return f
}

// String is "IPv4", "IPv6" or "IPv4 and IPv6".
func (f Families) String() string {
	return [...]string{"no family", "IPv4", "IPv6", "IPv4 and IPv6"}[f&(IPv4|IPv6)]
}

// TrafficPolicy is a Service's spec.externalTrafficPolicy.
type TrafficPolicy uint8

// Cluster spreads over all endpoints and masquerades. Local keeps to endpoints on the node, which see the client's address;
// without any, it serves the node and its pods alone.
const (
	Cluster TrafficPolicy = iota
	Local
)

// String is the policy as Kubernetes writes it.
func (p TrafficPolicy) String() string {
	if p == Local {
		return "Local"
	}
	return "Cluster"
}

// ServicePort is one port of a Service that is open on nodes.
type ServicePort struct {
	// Name is the port's name in the Service, "" for the only port.
	Name string
	// Port is the port inside the cluster: for people, it decides nothing here.
	Port     uint16
	NodePort uint16
	// Extra: NodePort is not one that the API server allocated, but asked for by the Service's author beside it.
	Extra    bool
	Protocol frontend.Protocol
	Policy   TrafficPolicy
	// Scheduler is the Service's own choice, "" for the node's default.
	Scheduler string
	// SchedulerFlags count if their scheduler is in force.
	SchedulerFlags SchedulerFlags
	// Limits are those of each real server.
	Limits Limits
	// OnePacket asks that every datagram finds its endpoint by itself; see ServicePort.onePacket for when that is possible.
	OnePacket bool
	// SlowStart is the time over which a new endpoint gets its weight, if the scheduler in force knows how; 0 is at once.
	SlowStart time.Duration
	// DrainTimeout bounds how long an endpoint that is gone keeps its connections; 0 is the node's own bound.
	DrainTimeout time.Duration
	// Affinity keeps a client with one endpoint.
	Affinity Affinity
	// Endpoints are all endpoints of both families, usable or not, without duplicates, sorted by address.
	Endpoints []Endpoint
}

// Affinity is a Service's sessionAffinity ClientIP: a client's connections go to the endpoint of its last one, until it
// has had none for Timeout. The zero value is no affinity.
type Affinity struct {
	// Timeout is a whole number of seconds; 0 is no affinity.
	Timeout time.Duration
	// Prefix4 and Prefix6 are prefix lengths in bits: clients whose addresses share so many count as one. 0 means the
	// whole address.
	Prefix4, Prefix6 uint8
}

// Endpoint is one address and port behind a Service port. The conditions are those of the EndpointSlice, with its
// defaults filled in (nil means ready, serving and not terminating).
type Endpoint struct {
	Addr netip.AddrPort
	// Local: the endpoint is on this node.
	Local                       bool
	Ready, Serving, Terminating bool
	// NodeHint and ZoneHint say for which nodes and zones the control plane meant the endpoint (trafficDistribution).
	NodeHint, ZoneHint Hint
	// Weight is its share of new connections where the scheduler counts weights; 0 counts as 1.
	Weight uint16
	// Maintenance: it gets no new connection and keeps those it has.
	Maintenance bool
	// Node is the node that the endpoint is on, Target the object behind it ("Pod default/web-1"): for people.
	Node, Target string
}

// Hint says whether an endpoint's hints name this node, or its zone.
type Hint uint8

// An endpoint without hints of a kind switches hints of that kind off for its whole Service port.
const (
	NoHint Hint = iota
	Elsewhere
	Here
)

// Node is what the agent wants to know of the Node object it runs on.
type Node struct {
	Name string
	// InternalIPs and ExternalIPs are the addresses of these types in the order of the Node's status.
	InternalIPs, ExternalIPs []netip.Addr
	// PodCIDRs are the networks of the node's pods (spec.podCIDRs).
	PodCIDRs []netip.Prefix
	// Ineligible says why load balancers should send the node nothing new (KEP-3836); empty if they may. What is served
	// goes on being served.
	Ineligible string
}

// Primary is the node's first address of each family, InternalIPs before ExternalIPs (kubernetes
// pkg/util/node/node.go, GetNodeHostIPs).
func (n Node) Primary() []netip.Addr {
	var primary []netip.Addr
	var have Families
	for _, a := range slices.Concat(n.InternalIPs, n.ExternalIPs) {
		family := IPv6
		if a.Is4() {
			family = IPv4
		}
		if have&family == 0 {
			have |= family
			primary = append(primary, a)
		}
	}
	return primary
}

// Reason says what kind of trouble a Problem is; it is the label of the metric.
type Reason string

// The reasons.
const (
	// Invalid: the object, or a part of it, cannot be used as written.
	Invalid Reason = "invalid"
	// Unsupported: it asks for something that the agent does not do; what is done instead stands in the message.
	Unsupported Reason = "unsupported"
	// Conflict: another object holds the port.
	Conflict Reason = "conflict"
	// NoAddress: no address of the node is chosen to serve.
	NoAddress Reason = "no-address"
	// NoPodNetwork: the node's pods cannot be told from other clients.
	NoPodNetwork Reason = "no-pod-network"
	// KernelRefused: the kernel did not take it.
	KernelRefused Reason = "kernel-refused"
	// ListenFailed: a health check port cannot be listened on.
	ListenFailed Reason = "listen-failed"
	// PortInUse: a program of the node, or a virtual server of somebody else, is on the port.
	PortInUse Reason = "port-in-use"
	// OutOfRange: the node port lies outside of the API server's range, which may give it to nobody else one day.
	OutOfRange Reason = "out-of-range"
	// OverLimit: the node may not serve so much.
	OverLimit Reason = "over-limit"
)

// Reasons lists all of them.
func Reasons() []Reason {
	return []Reason{Invalid, Unsupported, Conflict, NoAddress, NoPodNetwork, KernelRefused, ListenFailed, PortInUse, OutOfRange, OverLimit}
}

// Problem is something that a user wrote and that is not, or not entirely, in force.
type Problem struct {
	// Object is kind and name: "Service default/web", "EndpointSlice default/web-x1", "web.yaml document 2", "IPVS".
	Object string
	Reason Reason
	// Message says what is wrong, what is done instead, and what mends it, in one sentence.
	Message string
	// Skipped: something that claims a node port, or a health check port, is not served because of it.
	Skipped bool
}

// String is "OBJECT: MESSAGE".
func (p Problem) String() string { return p.Object + ": " + p.Message }

// Update is what changed in a Source since it was asked last.
type Update struct {
	// Services are the changed ones, whole. One that is gone, or that asks nothing of nodes any more, is Empty.
	Services []Service
	// Triggers are when the changes behind those of Services happened, as far as that is told. It decides nothing.
	Triggers Triggers
	// Node is nil if the Node object did not change.
	Node *Node
	// Problems are those that belong to no Service (a file that cannot be parsed), all of them that there are now.
	Problems []Problem
	// Incomplete: part of the input has never been readable, so what no Service asks for may still be wanted, and
	// nothing of that kind is deleted.
	Incomplete bool
}

// Source delivers Services and the Node: the API server or manifests. Implementations are in package sync/kube.
type Source interface {
	// Run feeds the source until ctx ends; it returns nil then, and an error if it cannot go on.
	Run(ctx context.Context) error
	// Changed has a value waiting whenever Next has something new (a channel of capacity one).
	Changed() <-chan struct{}
	// Next is what changed since the last call; false, and nothing, until Services, EndpointSlices and the Node were
	// all read once. The first Update has everything.
	Next() (Update, bool)
	// Changes counts what came in, at any time and from any goroutine.
	Changes() Changes
}
