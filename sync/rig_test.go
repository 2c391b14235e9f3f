package sync

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// source is a Source that a test feeds by hand.
type source struct {
	mu      stdsync.Mutex
	update  Update
	changes Changes
	synced  bool
	changed chan struct{}
}

func newSource() *source { return &source{changed: make(chan struct{}, 1)} }

func (s *source) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (s *source) Changes() Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

func (s *source) Changed() <-chan struct{} { return s.changed }

func (s *source) Next() (Update, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced {
		return Update{}, false
	}
	u := s.update
	s.update = Update{Problems: u.Problems, Incomplete: u.Incomplete}
	return u, true
}

func (s *source) deliver(change func(*Update)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.update)
	s.synced = true
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// addresses is an Addresses that a test feeds by hand.
type addresses struct {
	mu      stdsync.Mutex
	all     []nodeaddr.Address
	reads   int
	changed chan struct{}
}

func (a *addresses) Changed() <-chan struct{} { return a.changed }

func (a *addresses) Addresses() ([]nodeaddr.Address, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reads++
	return slices.Clone(a.all), a.all != nil
}

func (a *addresses) set(addrs ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = []nodeaddr.Address{}
	for _, text := range addrs {
		a.all = append(a.all, nodeaddr.Address{Addr: netip.MustParseAddr(text), PrefixLen: 24, Interface: "eth0"})
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// add gives the node an address on another interface.
func (a *addresses) add(device, addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, nodeaddr.Address{Addr: netip.MustParseAddr(addr), PrefixLen: 32, Interface: device})
}

// setState gives one of the addresses another state.
func (a *addresses) setState(s nodeaddr.State, at int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[at].State = s
	a.changed <- struct{}{}
}

// rig is a reconciler with a model of the kernel beneath and hands on its inputs. It lives in a synctest bubble.
type rig struct {
	*Reconciler
	t         *testing.T
	source    *source
	addresses *addresses
	kernel    *ipvsfake.Kernel
	nft       *filtertest.Fake
	foreign   chan struct{} // somebody wrote to nftables
	stop      func()
}

// start runs a reconciler on the given kernel and nftables, which outlive it.
func start(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake, configure ...func(*Config)) *rig {
	t.Helper()
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{
		t: t, source: newSource(), addresses: &addresses{changed: make(chan struct{}, 1)},
		kernel: kernel.Open(), nft: nft, foreign: make(chan struct{}, 1),
	}
	c := Config{
		Source: g.source, Addresses: g.addresses, Kernel: g.kernel, Filter: filter.New(nft, filter.Options{}), RulesetChanged: g.foreign,
		HealthChecks: &sockets{}, PodsByInterface: true,
		NodePortAddresses: spec, Defaults: Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: nodePorts}, SyncPeriod: 30 * time.Second, DrainTimeout: 5 * time.Minute, AddressGrace: time.Minute,
	}
	var faulty *ipvsfake.FaultyHandle
	for _, f := range configure {
		f(&c)
		if h, is := c.Kernel.(*ipvsfake.FaultyHandle); is && h != faulty {
			faulty = h
			t.Cleanup(func() { happened(t, h) })
		}
	}
	g.Reconciler = New(logr.Discard(), c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := g.Run(ctx); err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}()
	g.stop = func() { cancel(); <-ended }
	t.Cleanup(g.stop)
	return g
}

// happened fails a test that never came to the failures that it is about.
func happened(t *testing.T, h *ipvsfake.FaultyHandle) {
	t.Helper()
	if left := h.Unconsumed(); len(left) > 0 {
		t.Errorf("these failures never happened: %v", left)
	}
}

// serve gives the reconciler everything it waits for: one address and the Services.
func (g *rig) serve(services ...Service) {
	g.addresses.set("10.1.0.10")
	g.deliver(services...)
}

// deliver is a change of Services.
func (g *rig) deliver(services ...Service) {
	g.source.deliver(func(u *Update) { u.Services = append(u.Services, services...) })
	synctest.Wait()
}

// pass lets time go by.
func (g *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect compares the kernel's whole table with a text: one line for each virtual server, its real servers behind it
// as ADDRESS*WEIGHT.
func (g *rig) expect(want ...string) {
	g.t.Helper()
	if diff := cmp.Diff(want, brief(g.kernel.Table())); diff != "" {
		g.t.Errorf("the kernel's table (-want +got):\n%s", diff)
	}
}

func brief(t ipvs.Table) []string {
	var lines []string
	for _, key := range t.Keys() {
		line := key.String() + " " + t[key].Scheduler
		for _, addr := range t[key].RealKeys() {
			line += fmt.Sprintf(" %s*%d", addr, t[key].Reals[addr].Weight)
		}
		lines = append(lines, line)
	}
	return lines
}

func (g *rig) rules() filter.Rules {
	g.t.Helper()
	state, err := filter.New(g.nft, filter.Options{}).Read(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return state.Rules
}

// masquerades compares those of all frontends.
func (g *rig) masquerades(want map[frontend.Key]filter.Masquerade) {
	g.t.Helper()
	if diff := cmp.Diff(want, g.rules().Masquerade, cmpopts.EquateEmpty(), cmp.Comparer(sameKey), cmp.Comparer(sameAddr)); diff != "" {
		g.t.Errorf("masquerades (-want +got):\n%s", diff)
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

// all masquerades every client of these frontends.
func all(keys ...frontend.Key) map[frontend.Key]filter.Masquerade {
	m := map[frontend.Key]filter.Masquerade{}
	for _, key := range keys {
		m[key] = filter.MasqueradeAll
	}
	return m
}

func (g *rig) writes() int { return g.kernel.Writes() + g.nft.Writes() }

// web is a Service with one TCP port 30080 and ready endpoints.
func web(endpoints ...string) Service { return service("web", 30080, endpoints...) }

// service is one with a TCP port. An endpoint may carry states behind a blank: local, terminating (and serving), dead,
// and hints: node+ and zone+ name this node and its zone, node- and zone- others.
func service(name string, port uint16, endpoints ...string) Service {
	p := ServicePort{Name: "http", Port: 80, NodePort: port, Protocol: frontend.TCP}
	for _, text := range endpoints {
		addr, states, _ := strings.Cut(text, " ")
		e := Endpoint{Addr: netip.MustParseAddrPort(addr), Ready: true, Serving: true, Local: strings.Contains(states, "local")}
		if strings.Contains(states, "terminating") {
			e.Ready, e.Terminating = false, true
		}
		if strings.Contains(states, "dead") {
			e.Ready, e.Serving = false, false
		}
		for text, hint := range map[string]*Hint{"node": &e.NodeHint, "zone": &e.ZoneHint} {
			switch {
			case strings.Contains(states, text+"+"):
				*hint = Here
			case strings.Contains(states, text+"-"):
				*hint = Elsewhere
			}
		}
		p.Endpoints = append(p.Endpoints, e)
	}
	return Service{
		ID: ServiceID{Namespace: "default", Name: name}, UID: "uid-" + name, Families: IPv4 | IPv6, Ports: []ServicePort{p},
		Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func gone(name string) Service { return Service{ID: ServiceID{Namespace: "default", Name: name}} }

func tcp(addr string, port uint16) frontend.Key {
	return frontend.NewKey(netip.MustParseAddr(addr), frontend.TCP, port)
}

// bubble runs a test in a synctest bubble with a fresh kernel and nftables.
func bubble(t *testing.T, test func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, ipvsfake.New(), filtertest.New()) })
}

// nodePorts is the API server's default range.
var nodePorts = allocator.Range{First: 30000, Last: 32767}

// at are addresses that serve, of which no more is known.
func at(addrs ...netip.Addr) []nodeaddr.Place { return nodeaddr.Places(addrs, nil, nil, nil) }

// seeds are those of a test of random histories: the usual ones, or as many as SEEDS in the environment says (make faults SEEDS=1000).
func seeds(t *testing.T, usual uint64) uint64 {
	t.Helper()
	text := os.Getenv("SEEDS")
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		t.Fatalf("SEEDS=%q: want how many seeds to try, such as 1000", text)
	}
	return n
}
