package native

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/healthcheck"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// The agent's own settings, where its flags say nothing else.
const (
	// SyncPeriod is --ipvs-sync-period.
	SyncPeriod    = job.SyncPeriod
	minSyncPeriod = 20 * time.Millisecond
	drainTimeout  = 5 * time.Minute
	addressGrace  = time.Minute
	scheduler     = "rr"
)

// agent is what kube-ipvs run is made of, but its servers, which nobody asks, and the followers of the kernel's notifications, of
// which none comes. Beneath it is a model of the kernel.
type agent struct {
	*sync.Reconciler
	source *kube.Informers
	kernel *counted
	nft    *filtertest.Fake
}

func newAgent(s Spec) (*agent, error) {
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	if err != nil {
		return nil, err
	}
	a := &agent{source: newInformers(s.Plan), kernel: newCounted(), nft: filtertest.New()}
	checks := healthcheck.New(func() bool { return a.Health(time.Now()).Ready })
	a.Reconciler = sync.New(logr.Discard(), sync.Config{
		Source: a.source, Addresses: newAddresses(), Kernel: a.kernel, Filter: filter.New(a.nft, filter.Options{}),
		Generation: a.generation, HealthChecks: checks, Listeners: listeners,
		NodePortAddresses: spec,
		Defaults: sync.Defaults{
			Scheduler: scheduler, Masquerade: filter.MasqueradeAll, NodePortRange: allocator.Range{First: 30000, Last: 32767},
		},
		SyncPeriod: s.Period, MinSyncPeriod: minSyncPeriod, DrainTimeout: drainTimeout, AddressGrace: addressGrace, Seed: s.Plan.Seed,
	})
	return a, nil
}

// run follows the objects and reconciles until ctx ends.
func (a *agent) run(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return a.source.Run(ctx) })
	parts.Go(func() error { return a.Run(ctx) })
	return parts.Wait()
}

// generation is that of the model's ruleset: as the kernel's, it rises with every transaction.
func (a *agent) generation() (uint32, error) { return uint32(a.nft.Writes()) + 1, nil }

// listeners are the programs of this machine that listen on claimed ports, as an audit looks for them on a node.
func listeners(claimed func(frontend.Protocol, uint16) bool) ([]sync.Listener, error) {
	all, err := host.Listeners(context.Background())
	if err != nil {
		return nil, err
	}
	var found []sync.Listener
	for _, l := range all {
		if l.Device == 0 && claimed(l.Protocol, l.Port) {
			found = append(found, sync.Listener{Listener: l})
		}
	}
	return found, nil
}

// addresses are those of a node of which nothing changes.
type addresses struct {
	all     []nodeaddr.Address
	changed chan struct{}
}

func newAddresses() *addresses {
	a := &addresses{changed: make(chan struct{}, 1)}
	for i, addr := range objects.Addresses() {
		a.all = append(a.all, nodeaddr.Address{Addr: addr, PrefixLen: 24, Interface: fmt.Sprintf("eth%d", i)})
	}
	return a
}

func (a *addresses) Changed() <-chan struct{} { return a.changed }

func (a *addresses) Addresses() ([]nodeaddr.Address, bool) { return a.all, true }

// counted counts the dumps that a model of the kernel is asked for.
type counted struct {
	ipvs.Handle
	model *ipvsfake.Kernel
	reads atomic.Uint64
}

func newCounted() *counted {
	model := ipvsfake.New()
	return &counted{Handle: model, model: model}
}

func (c *counted) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.VirtualServer, error) {
	c.reads.Add(1)
	return c.Handle.Virtuals(ctx)
}

func (c *counted) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	c.reads.Add(1)
	return c.Handle.SameReals(ctx, key, reals, each)
}
