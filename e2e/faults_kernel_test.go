//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
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
	updates   chan sync.Update
	changed   chan struct{}
	addresses []nodeaddr.Address
}

func (f *fed) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fed) Changed() <-chan struct{}      { return f.changed }
func (f *fed) Changes() sync.Changes         { return sync.Changes{} }

func (f *fed) Next() (sync.Update, bool) {
	select {
	case u := <-f.updates:
		if len(f.updates) > 0 {
			f.tell()
		}
		return u, true
	default:
		return sync.Update{}, false
	}
}

func (f *fed) Addresses() ([]nodeaddr.Address, bool) { return f.addresses, true }

func (f *fed) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fed) deliver(services ...sync.Service) {
	f.updates <- sync.Update{Services: services}
	f.tell()
}

// still are addresses that never change.
type still struct{ *fed }

func (still) Changed() <-chan struct{} { return nil }

// faultyFilter is our real nftables table, through a hand that trembles: so many of a hundred calls fail, every other one after it
// was done.
type faultyFilter struct {
	sync.Filter
	percent atomic.Int32
	failed  atomic.Int32
}

func (f *faultyFilter) try(call func() error) error {
	if rand.Int32N(100) >= f.percent.Load() {
		return call()
	}
	if f.failed.Add(1)%2 == 0 {
		_ = call() // done, and nobody is told
	}
	return fmt.Errorf("nft: %w", context.DeadlineExceeded)
}

func (f *faultyFilter) Read(ctx context.Context) (state filter.State, err error) {
	err = f.try(func() (err error) { state, err = f.Filter.Read(ctx); return err })
	return state, err
}

func (f *faultyFilter) Apply(ctx context.Context, c filter.Change) error {
	return f.try(func() error { return f.Filter.Apply(ctx, c) })
}

func (f *faultyFilter) Replace(ctx context.Context, rules filter.Rules) error {
	return f.try(func() error { return f.Filter.Replace(ctx, rules) })
}

// wary sees each operation before the kernel does, and remembers those that no moment of the test asks for.
type wary struct {
	ipvs.Handle
	always ipvs.Table // what has to be served all the time
	ops    atomic.Int64
	wrong  chan string
}

func (w *wary) Do(ctx context.Context, ops []ipvs.Op) []error {
	for _, op := range ops {
		w.ops.Add(1)
		entry, virtual := w.always[op.Key]
		_, real := entry.Reals[op.RealKey]
		if op.Verb == ipvs.DelVirtual && virtual || real && (op.Verb == ipvs.DelReal || op.Verb == ipvs.SetReal && op.Real.Weight == 0) {
			select {
			case w.wrong <- op.String():
			default:
			}
		}
	}
	return w.Handle.Do(ctx, ops)
}

// trial is the agent's own reconciler in this process, on the kernel of node 1.
type trial struct {
	*rig
	*fed
	*sync.Reconciler
	faulty *ipvsfake.FaultyHandle
	filter *faultyFilter
	wary   *wary
	want   map[string]sync.Service
	third  *topo.Pod
}

const trialPeriod = time.Second

// newTrial prepares the node as the agent does, and puts the reconciler in its place.
func newTrial(t *testing.T, faults ipvsfake.Faults, percent int32) *trial {
	t.Helper()
	x := &trial{
		rig: newRig(t, topo.WithSCTP()), want: map[string]sync.Service{},
		fed: &fed{updates: make(chan sync.Update, 1000), changed: make(chan struct{}, 1)},
	}
	x.third = x.pod(t, x.Node2, "web-3", topo.WithSCTP())
	x.serve(t, agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort},
		{Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
		{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP},
	}}, x.both()...)
	x.start(t, bothNetworks)
	always := x.table(t)
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
		x.filter = &faultyFilter{Filter: table}
		x.filter.percent.Store(percent)
		x.faulty = ipvsfake.Faulty(kernel, faults)
		// Above the faults, of which another writer's deletions are one.
		x.wary = &wary{Handle: x.faulty, always: always, wrong: make(chan string, 100)}
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
	if random.IntN(8) == 0 {
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

// nothingWrong requires that nothing was deleted or closed that had to be served all the time.
func (x *trial) nothingWrong(t *testing.T) {
	t.Helper()
	for {
		select {
		case op := <-x.wary.wrong:
			t.Errorf("%s although it was wanted all the time", op)
		default:
			return
		}
	}
}

// A tenth of all calls of IPVS and of nft fails, while Services change: connections that are held live on, no request fails, and
// soon after the end of the faults everything is as it should be.
func TestFaultsOfTheKernelCutNothingAndAreMended(t *testing.T) {
	x := newTrial(t, ipvsfake.Faults{Rate: 0.1, Seed: 9, Lossy: 0.1, Alone: true}, 10)
	open := x.hold(t)
	load := x.load(t, at(x.Node1.B6))
	random := rand.New(rand.NewPCG(2026, 9))
	for range 150 {
		x.churn(random)
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // the time between two changes
	}
	x.ask(x.web("rr", false))
	awaitAnswers(t, load)
	open.live(t)
	healed, passes := time.Now(), x.Counters().Passes
	x.faulty.Heal()
	x.filter.percent.Store(0)
	eventually(t, "all is as it should be", func() error { return x.settled(t.Context()) })
	t.Logf("%d operations, %d faults of nft; settled %s and %d passes after the last fault", x.wary.ops.Load(), x.filter.failed.Load(),
		since(healed), x.Counters().Passes-passes)
	awaitAnswers(t, load)
	open.live(t)
	noFailure(t, load)
	x.nothingWrong(t)
	if x.filter.failed.Load() == 0 {
		t.Error("nft never failed")
	}
}

// Nothing works for a while: the node says so, what is served goes on being served, and all is well again once it works.
func TestHealthTurnsRedWhileNothingWorksAndGreenAgain(t *testing.T) {
	x := newTrial(t, ipvsfake.Faults{}, 0)
	eventually(t, "it serves", func() error { return x.settled(t.Context()) })
	open := x.hold(t)
	load := x.load(t, at(x.Node1.A4))
	x.filter.percent.Store(100)
	x.run(t, "", "nft", "add", "table", "inet", "kube-ipvs-other") // another generation: our table has to be read
	eventually(t, "it is not ready", func() error {
		if h := x.Health(time.Now()); h.Ready || !h.Alive || !strings.Contains(h.Reason, "deadline") {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	tries := x.filter.failed.Load()
	x.ask(serviceOf("beside", "rr", nodePort+20, []frontend.Protocol{frontend.TCP}, x.web1.Addr4))
	awaitAnswers(t, load)
	open.live(t)
	x.filter.percent.Store(0)
	eventually(t, "it is ready", func() error {
		if h := x.Health(time.Now()); !h.Ready {
			return errors.New(h.Reason)
		}
		return nil
	})
	t.Logf("%d calls of nft failed until then, %d until it was red", x.filter.failed.Load(), tries)
	eventually(t, "what came meanwhile is served too", func() error { return x.settled(t.Context()) })
	open.live(t)
	noFailure(t, load)
	x.nothingWrong(t)
}

// Somebody else changes our entries in a loop. Nothing of ours goes by our own doing, and once he rests all is as it should be.
func TestAnotherWriterInALoopIsOutlasted(t *testing.T) {
	x := newTrial(t, ipvsfake.Faults{Rate: 0.1, Seed: 10}, 10)
	random := rand.New(rand.NewPCG(2026, 10))
	eventually(t, "it serves", func() error { return x.hasReals(t, 2) })
	ends := time.Now().Add(10 * time.Second)
	for n := 0; time.Now().Before(ends); n++ {
		if n%5 == 0 {
			x.churn(random)
		}
		k := key(x.all()[random.IntN(4)], frontend.TCP)
		d := dst(x.web1, k.Addr).String()
		// What is not there is no reason to stop: it may not be back yet.
		args := [][]string{
			{"-d", "-t", k.AddrPort().String(), "-r", d},
			{"-e", "-t", k.AddrPort().String(), "-r", d, "-m", "-w", "7"},
			{"-E", "-t", k.AddrPort().String(), "-s", "sed"},
			{"-D", "-t", k.AddrPort().String()},
			{"-C"},
			{"-a", "-t", k.AddrPort().String(), "-r", "198.51.100.9:80", "-m"},
		}[random.IntN(6)]
		_ = x.Node1.Command(t.Context(), "ipvsadm", args...).Run()
	}
	x.faulty.Heal()
	x.filter.percent.Store(0)
	healed := time.Now()
	eventually(t, "all is as it should be", func() error { return x.settled(t.Context()) })
	t.Logf("settled %s after the last change of somebody else", since(healed))
	x.nothingWrong(t)
	x.served(t)
}
