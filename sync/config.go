package sync

import (
	"context"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// Filter is our nftables table: which frontends are ours, whose clients are masqueraded, and who may connect.
type Filter interface {
	// Read returns what the table has, and whether it is Present and Intact. A missing table is empty. It is called from another
	// goroutine than the others, also while one of them works.
	Read(ctx context.Context) (filter.State, error)
	// Apply changes the table in one transaction: all of it or nothing. filter.IsOutOfStep(err) if the
	// table is not what it was taken for.
	Apply(ctx context.Context, change filter.Change) error
	// Replace makes the table equal to the rules in one transaction, whatever it was.
	Replace(ctx context.Context, rules filter.Rules) error
}

// Addresses are the addresses of this node, followed live.
type Addresses interface {
	Changed() <-chan struct{}
	// Addresses is false until they were read once.
	Addresses() ([]nodeaddr.Address, bool)
}

// Config is what a Reconciler works with. All fields are required but Generation, RulesetChanged, Renewed, Tune,
// HealthChecks, Events and DeleteStaleFlows. Kernel, Filter, RulesetChanged, Renewed and Tune may come later, with Equip.
type Config struct {
	Source    Source
	Addresses Addresses
	Kernel    ipvs.Handle
	Filter    Filter
	// Generation is the generation of the nftables ruleset, which rises with every write of anybody. An audit reads our
	// table only if it rose since the last one. Without it every audit reads.
	Generation func() (uint32, error)
	// RulesetChanged has a value waiting when somebody else changed our nftables table; nil if nobody watches. It may
	// be closed, which leaves the audits.
	RulesetChanged <-chan struct{}
	// Renewed has a value waiting when Kernel has met an IPVS that was loaded anew: it is audited at once. nil leaves it to the audits.
	Renewed <-chan struct{}
	// Tune sets those settings of IPVS that serving needs and that are not as they should be; nil if nobody does. They go with module
	// ip_vs and come back with the kernel's own values, so each audit asks for it; at the start they are right already.
	Tune func(ctx context.Context) error
	// DeleteStaleFlows makes the kernel forget the UDP flows to frontends whose answers are expected from elsewhere than
	// the given real servers, and returns how many there were. It leaves all other flows alone.
	DeleteStaleFlows func(real map[frontend.Key][]netip.AddrPort) (int, error)
	// Listeners are the programs of this node that listen on claimed ports, the agent itself left out; nil if nobody looks.
	Listeners func(claimed func(frontend.Protocol, uint16) bool) ([]Listener, error)
	// Reserve keeps ports from being given to programs that ask for any; nil if nobody does. It is told of all node ports and extra
	// ports that Services claim here, whenever they change.
	Reserve func(ports *allocator.Ports) error
	// HealthChecks answers load balancers; nil if nobody does.
	HealthChecks HealthChecks
	// Events tells authors of Services what is wrong with them; nil leaves it to the log.
	Events Events

	// NodePortAddresses chooses the addresses that serve.
	NodePortAddresses nodeaddr.Spec
	// Defaults serve where a Service says nothing else.
	Defaults
	// Pods are the networks of this node's pods; nil means those of its Node object, followed live.
	Pods []netip.Prefix
	// PodsByInterface: Filter tells this node's pods by their interface, and their networks do not matter.
	PodsByInterface bool
	// SyncPeriod is the time between two audits, which read the kernel back.
	SyncPeriod time.Duration
	// MinSyncPeriod is between the beginnings of two passes that take in what the Source has: changes in a row are taken in together, which costs
	// little more than one of them. A change after a rest as long is taken in at once. 0 takes in each.
	MinSyncPeriod time.Duration
	// DrainTimeout bounds how long a departing real server keeps its connections.
	DrainTimeout time.Duration
	// AddressGrace is how long an address that vanished keeps its virtual servers.
	AddressGrace time.Duration
	// Seed is of this node alone: it decides in which order real servers are added to a virtual server.
	Seed uint64
	// Adopt makes ours at the start what others left on node ports of this node and no Service claims (see Foreign), so that
	// it drains and goes.
	Adopt bool
}
