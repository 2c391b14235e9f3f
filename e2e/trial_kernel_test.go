//go:build kernel

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// fed is a source of Services, and of the node's addresses, that a test feeds.
type fed struct {
	services  chan sync.Service
	changed   chan struct{}
	addresses []nodeaddr.Address
	// begun counts passes: each asks once, when it begins.
	begun atomic.Int64
	// first is done by the pass that begins next, before anything else.
	first chan func()
}

func (f *fed) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (f *fed) Changed() <-chan struct{} { return f.changed }

func (f *fed) Changes() sync.Changes { return sync.Changes{} }

// Next is all that came since it was asked before: a pass takes in what there is.
func (f *fed) Next() (u sync.Update, ok bool) {
	f.begun.Add(1)
	select {
	case do := <-f.first:
		do()
	default:
	}
	for {
		select {
		case s := <-f.services:
			u.Services, ok = append(u.Services, s), true
		default:
			return u, ok
		}
	}
}

func (f *fed) Addresses() ([]nodeaddr.Address, bool) { return f.addresses, true }

func (f *fed) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fed) deliver(s sync.Service) {
	f.services <- s
	f.tell()
}

// still are addresses that never change.
type still struct{ *fed }

func (still) Changed() <-chan struct{} { return nil }

// trial is the agent's own reconciler in this process, on the kernel of node 1.
type trial struct {
	*rig
	*fed
	*sync.Reconciler
	faulty *ipvsfake.FaultyHandle
	filter *faultyFilter
	wary   *wary
	writes *writes
	want   map[string]sync.Service
	third  *topo.Pod
}

const trialPeriod = time.Second

// newTrial prepares the node as the agent does, and puts the reconciler in its place.
func newTrial(t *testing.T, faults ipvsfake.Faults, percent int32) *trial {
	t.Helper()
	x := &trial{
		rig: newRig(t, topo.WithSCTP()), want: map[string]sync.Service{},
		fed: &fed{services: make(chan sync.Service, 1000), changed: make(chan struct{}, 1), first: make(chan func(), 1)},
	}
	x.writes = &writes{pass: x.begun.Load, in: map[string]map[int64]struct{}{}}
	x.third = x.pod(t, x.Node2, "web-3", topo.WithSCTP())
	x.serve(t, agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort},
		{Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
		{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP},
	}}, x.both()...)
	x.start(t, bothNetworks)
	always := x.table(t)
	if n := len(always); n != 12 {
		t.Fatalf("%d virtual servers are to be served all the time, want 4 addresses over 3 protocols", n)
	}
	x.stop(t)
	for _, addr := range x.all() {
		x.addresses = append(x.addresses, nodeaddr.Address{Addr: addr, PrefixLen: map[bool]int{true: 24, false: 64}[addr.Is4()], Interface: topo.DevA})
	}
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	must(t, err)
	must(t, x.Node1.Do(func() error {
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		t.Cleanup(func() { kernel.Close() })
		table, err := filter.Open(filter.Options{})
		if err != nil {
			return err
		}
		x.filter = &faultyFilter{Filter: table, host: x.Node1, writes: x.writes}
		x.filter.percent.Store(percent)
		x.faulty = ipvsfake.Faulty(kernel, faults)
		// Above the faults, of which another writer's deletions are one.
		x.wary = &wary{Handle: x.faulty, always: always, writes: x.writes, wrong: make(chan string, 100)}
		return nil
	}))
	x.Reconciler = sync.New(logr.Discard(), sync.Config{
		Source: x.fed, Addresses: still{x.fed}, Kernel: x.wary, Filter: x.filter, Generation: filter.Generation,
		NodePortAddresses: spec, Pods: x.Node1.PodCIDRs, SyncPeriod: trialPeriod, DrainTimeout: time.Minute, AddressGrace: time.Minute,
		Defaults: sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: allocator.Range{First: 30000, Last: 32767}},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- x.Node1.Do(func() error { return x.Reconciler.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
		x.nothingWrong(t) // however the test ended
	})
	x.ask(x.web("rr", false))
	return x
}

// ask is a change of a Service.
func (x *trial) ask(s sync.Service) {
	x.want[s.ID.Name] = s
	x.deliver(s)
}

func serviceOf(name, scheduler string, port uint16, protocols []frontend.Protocol, pods ...netip.Addr) sync.Service {
	s := sync.Service{ID: sync.ServiceID{Namespace: "default", Name: name}, UID: name, Families: sync.IPv4 | sync.IPv6}
	for _, p := range protocols {
		port := sync.ServicePort{Name: p.String(), Port: port, NodePort: port, Protocol: p, Scheduler: scheduler}
		for _, addr := range pods {
			port.Endpoints = append(port.Endpoints, sync.Endpoint{Addr: netip.AddrPortFrom(addr, topo.Port), Ready: true, Serving: true})
		}
		slices.SortFunc(port.Endpoints, func(a, b sync.Endpoint) int { return a.Addr.Compare(b.Addr) })
		s.Ports = append(s.Ports, port)
	}
	return s
}

// web has both pods all the time, and the third one sometimes.
func (x *trial) web(scheduler string, third bool) sync.Service {
	pods := []netip.Addr{x.web1.Addr4, x.web1.Addr6, x.web2.Addr4, x.web2.Addr6}
	if third {
		pods = append(pods, x.third.Addr4, x.third.Addr6)
	}
	return serviceOf("web", scheduler, nodePort, []frontend.Protocol{frontend.TCP, frontend.UDP, frontend.SCTP}, pods...)
}

// churn is a random change of web, or of a Service beside it that nobody asks.
func (x *trial) churn(random *rand.Rand) {
	if random.IntN(3) == 0 {
		x.ask(x.web([]string{"rr", "wrr", "lc"}[random.IntN(3)], random.IntN(2) == 0))
		return
	}
	var pods []netip.Addr
	for i := range byte(8) {
		if random.IntN(2) == 0 {
			pods = append(pods, netip.AddrFrom4([4]byte{10, 244, 1, 200 + i}))
		}
	}
	n := random.IntN(6)
	s := serviceOf(fmt.Sprintf("beside-%d", n), []string{"rr", "sh", "wlc"}[random.IntN(3)], uint16(nodePort+10+n), []frontend.Protocol{frontend.TCP}, pods...)
	if random.IntN(3) == 0 { // each that comes back asks nft for something
		s.Ports = nil // it is deleted
	}
	x.ask(s)
}

// settled is nil if the kernel serves what the Services ask for, and nothing else.
func (x *trial) settled(ctx context.Context) error {
	want := map[frontend.Key][]netip.AddrPort{}
	for _, s := range x.want {
		for _, p := range s.Ports {
			for _, a := range x.addresses {
				k := frontend.NewKey(a.Addr, p.Protocol, p.NodePort)
				want[k] = []netip.AddrPort{}
				for _, e := range p.Endpoints {
					if e.Addr.Addr().Is4() == a.Addr.Is4() {
						want[k] = append(want[k], e.Addr)
					}
				}
			}
		}
	}
	table, err := agent.Table(ctx, x.Node1)
	if err != nil {
		return err
	}
	for k, entry := range table {
		if reals, wanted := want[k]; !wanted || !slices.Equal(entry.RealKeys(), reals) {
			return fmt.Errorf("%s has %v, want %v (wanted: %v)", k, entry.RealKeys(), reals, wanted)
		}
		for addr, real := range entry.Reals {
			if real.Weight != 1 {
				return fmt.Errorf("%s of %s has weight %d", addr, k, real.Weight)
			}
		}
	}
	state, err := x.rules(ctx)
	if err != nil {
		return err
	}
	owned := maps.Clone(map[frontend.Key]struct{}(state.Rules.Owned))
	for k := range want {
		if _, served := table[k]; !served {
			return fmt.Errorf("%s is not served", k)
		}
		if state.Rules.Masquerade[k] != filter.MasqueradeAll {
			return fmt.Errorf("%s is not masqueraded", k)
		}
		delete(owned, k)
	}
	if !state.Intact || len(owned) > 0 {
		return fmt.Errorf("our table is intact: %v; it has %v besides", state.Intact, owned)
	}
	if err := x.Status().Err; err != nil {
		return fmt.Errorf("it counts as failing: %w", err)
	}
	return nil
}

// heal ends all faults between two passes.
func (x *trial) heal(t *testing.T) {
	t.Helper()
	healed := make(chan struct{})
	x.first <- func() {
		x.faulty.Heal()
		x.filter.percent.Store(0)
		x.writes.forget()
		close(healed)
	}
	x.tell()
	select {
	case <-healed:
	case <-time.After(time.Minute):
		t.Fatal("no pass begins")
	}
}

// settles requires that all is as it should be once the faults are over, that no frontend is written in more than three passes until
// then, and nothing is when it is so. What waits for its next try may wait as long as it has failed.
func (x *trial) settles(t *testing.T) {
	t.Helper()
	const passes = 3
	x.heal(t)
	begin, before := time.Now(), x.begun.Load()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must(t, agent.Eventually(ctx, "all is as it should be", func() error { return x.settled(ctx) }))
	took, until := since(begin), x.begun.Load()+passes+1
	eventually(t, "audits find nothing to do", func() error {
		if n := x.begun.Load(); n < until {
			return fmt.Errorf("%d passes to go", until-n)
		}
		return nil
	})
	which, most, last := x.writes.most()
	t.Logf("settled %s after the last fault; the last write was in pass %d from then, most passes wrote %s: %d", took, last-before+1, which, most)
	if most > passes {
		t.Errorf("%s was written in %d passes after the last fault", which, most)
	}
}

// nothingWrong requires that nothing was deleted or closed that had to be served all the time.
func (x *trial) nothingWrong(t *testing.T) {
	t.Helper()
	if x.wary.ops.Load() == 0 {
		t.Error("no operation on IPVS was seen")
	}
	for {
		select {
		case op := <-x.wary.wrong:
			t.Errorf("%s although it was wanted all the time", op)
		default:
			return
		}
	}
}
