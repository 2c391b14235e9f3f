package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// chaos makes random changes to everything that a reconciler sees.
type chaos struct {
	*rand.Rand
	services map[string]Service
	addrs    []string
	live     *Reconciler // the one that runs now
	bounds   Bounds
	seen     *tally
}

func newChaos(seed uint64, seen *tally) *chaos {
	return &chaos{Rand: rand.New(rand.NewPCG(seed, 1)), services: map[string]Service{}, addrs: []string{"10.1.0.10"}, seen: seen}
}

func pick[T any](c *chaos, from ...T) T { return from[c.IntN(len(from))] }

// service is a new version of one of four Services, which share three node ports.
func (c *chaos) service() Service {
	name := pick(c, "a", "b", "c", "d")
	if c.IntN(4) == 0 {
		delete(c.services, name)
		return gone(name)
	}
	var endpoints []string
	for i := range 4 {
		if c.IntN(2) == 0 {
			endpoints = append(endpoints, fmt.Sprintf("10.244.1.%d:8080 %s", i, pick(c, "local", "", "terminating", "dead", "local terminating")))
		}
	}
	svc := service(name, pick[uint16](c, 30080, 30081, 30082), endpoints...)
	svc.Created = svc.Created.Add(time.Duration(c.IntN(3)) * time.Hour)
	svc.Ports[0].Policy = pick(c, Cluster, Local)
	svc.Ports[0].Protocol = pick(c, frontend.TCP, frontend.UDP)
	svc.Ports[0].Scheduler = pick(c, "", "rr", "sh", "mh", "twos", "wrr")
	svc = c.choices(svc)
	c.services[name] = svc
	return svc
}

// choices are what the author of a Service may choose beyond what Kubernetes knows.
func (c *chaos) choices(svc Service) Service {
	if c.IntN(3) == 0 {
		svc = narrowed(svc, pick(c, "10.2.0.0/16", "10.1.0.0/16", "iface:eth0", "192.0.2.0/24"))
	}
	svc.Sources = pick(c, nil, nil, sources("10.0.0.0/8"), sources("192.0.2.0/24", "fd00::/8"))
	svc.Ports[0].SlowStart = pick(c, 0, 30*time.Second)
	svc.Ports[0].Limits = pick(c, Limits{}, Limits{Upper: 10, Lower: 5})
	svc = c.flags(svc)
	for i := range svc.Ports[0].Endpoints {
		e := &svc.Ports[0].Endpoints[i]
		e.Weight = pick[uint16](c, 0, 1, 3)
		e.Maintenance = c.IntN(6) == 0
	}
	return svc
}

// flags are choices that the kernel has as flags of a virtual server, where its scheduler and protocol allow them.
func (c *chaos) flags(svc Service) Service {
	p := &svc.Ports[0]
	hour := Affinity{Timeout: time.Hour}
	p.Affinity = pick(c, Affinity{}, Affinity{}, Affinity{Timeout: time.Minute}, hour, Affinity{Timeout: hour.Timeout, Prefix4: 24})
	p.SchedulerFlags = pick(c, 0, SHPort|MHPort, SHNoFallback|MHNoFallback)
	p.OnePacket = c.IntN(4) > 0
	return svc
}

func (c *chaos) step(g *rig) {
	switch c.IntN(8) {
	case 0:
		c.addrs = pick(c, []string{"10.1.0.10"}, []string{"10.1.0.10", "10.2.0.10"}, []string{"10.2.0.10"})
		g.addresses.set(c.addrs...)
		synctest.Wait()
	case 1:
		g.after(time.Duration(c.IntN(40)) * time.Second)
	case 2:
		key := tcp(pick(c, "10.1.0.10", "10.2.0.10"), pick[uint16](c, 30080, 30081))
		g.kernel.SetConnections(key, netip.MustParseAddrPort(fmt.Sprintf("10.244.1.%d:8080", c.IntN(4))), ipvs.Connections{Active: uint32(c.IntN(2))})
	default:
		g.deliver(c.service())
	}
}

// wanted is what a state that never saw the history asks for.
func (c *chaos) wanted() *State {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, Bounds: c.bounds})
	s.SetRefused([]string{"twos"})
	for _, svc := range c.services {
		s.Update(Update{Services: []Service{svc}})
	}
	var addrs []netip.Addr
	for _, text := range c.addrs {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	places := at(addrs...)
	for i := range places {
		places[i].Interfaces = []string{"eth0"}
	}
	s.SetPlaces(places)
	s.Resolve()
	return s
}

// guard fails the test when something is deleted that should be served at that moment, or gets nothing new any more, or is added before
// nftables knows who may connect.
type guard struct {
	ipvs.Handle
	t      *testing.T
	live   func() *Reconciler
	kernel *ipvsfake.Kernel
	seen   *tally
}

func (h *guard) Do(ctx context.Context, ops []ipvs.Op) []error {
	for _, op := range ops {
		f, wanted := h.live().state.Want(op.Key)
		has := h.live().rules.Sources[op.Key] // those of another Service may have to leave first: then it admits fewer
		if adds := op.Verb == ipvs.AddVirtual || op.Verb == ipvs.AddReal; adds && f.Sources != nil && (has == nil || !has.Equal(has.Both(f.Sources))) {
			h.t.Errorf("%s for clients %q, and nftables has %q", op, f.Sources, has)
		}
		if op.Verb == ipvs.DelVirtual && wanted {
			h.t.Errorf("%s although it is wanted", op)
		}
		real, uses := f.Entry.Reals[op.RealKey]
		if closes := op.Verb == ipvs.SetReal && op.Real.Weight == 0 && real.Weight > 0; uses && (op.Verb == ipvs.DelReal || closes) {
			h.t.Errorf("%s although it is wanted with %s", op, real)
		}
	}
	before := h.kernel.Table()
	results := h.Handle.Do(ctx, ops)
	for i, op := range ops {
		if results[i] == nil {
			h.seen.note(op, before[op.Key].VirtualServer)
		} else {
			h.seen.failed(results[i])
		}
	}
	return results
}

func TestAnyHistoryEndsInTheStateOfItsLastInputs(t *testing.T) {
	foreign, err := ipvs.ParseTable("tcp://10.1.0.10:443 wlc\n  10.9.0.1:443 masq weight 7\nudp://10.1.0.10:31000 rr\n")
	if err != nil {
		t.Fatal(err)
	}
	schedulers := slices.DeleteFunc(ipvsfake.New().Schedulers(), func(name string) bool { return name == "twos" })
	seen := newTally()
	for seed := range seeds(t, usualHistories) {
		for _, rate := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("seed %d, %.0f%% faults", seed, 100*rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					kernel := ipvsfake.New(ipvsfake.WithTable(foreign), ipvsfake.WithSchedulers(schedulers...))
					runHistory(t, newChaos(seed, seen), kernel, rate, foreign)
				})
			})
		}
	}
	seen.enough(t, usualHistories)
}

// usualHistories is how many seeds are tried, each without faults and with.
const usualHistories = 60

func runHistory(t *testing.T, c *chaos, kernel *ipvsfake.Kernel, rate float64, foreign ipvs.Table) {
	nft := filtertest.New()
	dice := rand.New(rand.NewPCG(c.Uint64(), 2)) // the reconciler's goroutine rolls them
	nft.SetFault(func(string) error {
		if dice.Float64() < rate {
			c.seen.fails("nft")
			return context.DeadlineExceeded
		}
		return nil
	})
	faulty := &ipvsfake.FaultyHandle{}
	begin := func() *rig {
		g := start(t, kernel, nft, func(cfg *Config) {
			faulty = ipvsfake.Faulty(cfg.Kernel, ipvsfake.Faults{Rate: rate, Seed: c.Uint64(), Lossy: rate})
			cfg.Bounds = c.bounds
			guarded := &guard{Handle: faulty, t: t, live: func() *Reconciler { return c.live }, kernel: kernel, seen: c.seen}
			cfg.Kernel = &witness{Handle: guarded, saw: handsOff(t, foreign)}
		})
		c.live = g.Reconciler
		g.addresses.set(c.addrs...)
		for _, svc := range c.services {
			g.source.deliver(func(u *Update) { u.Services = append(u.Services, svc) })
		}
		g.deliver()
		return g
	}
	g := begin()
	for range 40 {
		if c.IntN(15) == 0 { // the agent dies and comes back
			g.stop()
			g = begin()
		}
		c.step(g)
	}
	faulty.Heal()
	nft.SetFault(nil)
	g.after(20 * time.Minute) // retries, graces and drains, refused schedulers asked for again
	want := c.wanted()
	if diff := cmp.Diff(whole(want.Table()), whole(without(kernel.Table(), foreign, want))); diff != "" {
		t.Errorf("the kernel's table (-want +got):\n%s", diff)
	}
	if got := kernel.Table().Only(foreign.Keys()); !got.Equal(foreign) {
		t.Errorf("foreign virtual servers changed to\n%s", got)
	}
	if diff := cmp.Diff(want.Keys(), g.rules().Owned.Keys(), cmp.Comparer(sameKey)); diff != "" {
		t.Errorf("owned frontends (-want +got):\n%s", diff)
	}
	masquerades := map[frontend.Key]filter.Masquerade{}
	var internal []frontend.Key
	for _, key := range want.Keys() {
		f, _ := want.Want(key)
		if f.Masquerade != filter.MasqueradeNone { // which is to have no element
			masquerades[key] = f.Masquerade
		}
		if f.Internal {
			internal = append(internal, key)
		}
	}
	g.masquerades(masquerades)
	if diff := cmp.Diff(internal, g.rules().Internal.Keys(), cmp.Comparer(sameKey)); diff != "" {
		t.Errorf("internal frontends (-want +got):\n%s", diff)
	}
	clients := filter.Rules{Sources: map[frontend.Key]*filter.Sources{}}
	for _, key := range want.Keys() {
		if f, _ := want.Want(key); f.Sources != nil {
			clients.Sources[key] = f.Sources
		}
	}
	g.clients(clientsOf(clients)...)
	if err := g.Status().Err; err != nil {
		t.Errorf("still failing: %v", err)
	}
}

// whole is all of a table: flags, persistence and thresholds too, of which brief says nothing.
func whole(t ipvs.Table) []string { return strings.Split(t.String(), "\n") }

// without leaves out what is not ours, and real servers that still serve, which may stay at weight 0 as long as they are used.
func without(t, foreign ipvs.Table, want *State) ipvs.Table {
	rest := ipvs.Table{}
	for key, e := range t {
		if _, is := foreign[key]; is {
			continue
		}
		e = e.Clone()
		f, _ := want.Want(key)
		for addr, real := range e.Reals {
			if _, quiet := f.Quiet[addr]; (quiet || f.lives(addr)) && real.Weight == 0 {
				delete(e.Reals, addr)
			}
		}
		rest[key] = e
	}
	return rest
}
