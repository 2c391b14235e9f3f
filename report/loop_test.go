package report

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	stdsync "sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// feed gives a loop Services and the addresses of its node.
type feed struct {
	mu        stdsync.Mutex
	update    sync.Update
	addresses []nodeaddr.Address
	changed   chan struct{}
}

func newFeed() *feed { return &feed{changed: make(chan struct{}, 1)} }

func (*feed) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (*feed) Changes() sync.Changes { return sync.Changes{} }

func (f *feed) Changed() <-chan struct{} { return f.changed }

func (f *feed) Next() (sync.Update, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.update
	f.update = sync.Update{}
	return u, true
}

func (f *feed) Addresses() ([]nodeaddr.Address, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.addresses), true
}

func (f *feed) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	f.changed <- struct{}{}
	synctest.Wait()
}

// shop is Service shop/NAME with endpoints that are ready.
func shop(name string, nodePort uint16, endpoints ...string) sync.Service {
	p := sync.ServicePort{Name: "http", Port: 80, NodePort: nodePort, Protocol: frontend.TCP}
	for _, e := range endpoints {
		p.Endpoints = append(p.Endpoints, sync.Endpoint{Addr: netip.MustParseAddrPort(e), Ready: true, Serving: true})
	}
	return sync.Service{ID: sync.ServiceID{Namespace: "shop", Name: name}, UID: name, Families: sync.IPv4, Ports: []sync.ServicePort{p}}
}

// A loop in the middle of things: one endpoint drains on both addresses and the kernel does not take another, of a node that has just lost an
// address. The documents are made of what it knows.
func TestWhatALoopIsInTheMiddleOfIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		services, node := newFeed(), newFeed()
		kernel, nft := ipvsfake.New(), filtertest.New()
		refused := ipvsfake.Faults{Once: []ipvsfake.Fault{{Verb: ipvs.AddReal, Real: netip.MustParseAddrPort("10.244.1.9:8080"), Err: syscall.ENOMEM}}}
		all, err := nodeaddr.ParseSpec([]string{"all"})
		if err != nil {
			t.Fatal(err)
		}
		loop := sync.New(logr.Discard(), sync.Config{
			Source: services, Addresses: node, Kernel: ipvsfake.Faulty(kernel, refused), Filter: filter.New(nft, filter.Options{}),
			PodsByInterface: true, NodePortAddresses: all, SyncPeriod: time.Hour, DrainTimeout: 5 * time.Minute, AddressGrace: time.Minute,
			Defaults: sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: allocator.Range{First: 30000, Last: 32767}},
		})
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- loop.Run(ctx) }()
		defer func() {
			end()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		web, stuck := frontend.NewKey(onA, frontend.TCP, 30080), frontend.NewKey(onA, frontend.TCP, 30081)
		leaves := netip.MustParseAddrPort("10.244.1.2:8080")
		node.set(func() {
			node.addresses = []nodeaddr.Address{{Addr: onA, PrefixLen: 24, Interface: "eth0"}, {Addr: onB, PrefixLen: 24, Interface: "eth1"}}
		})
		services.set(func() {
			services.update.Services = []sync.Service{shop("web", 30080, "10.244.1.1:8080", leaves.String()), shop("stuck", 30081, "10.244.1.8:8080")}
		})
		kernel.SetConnections(web, leaves, ipvs.Connections{Active: 2, Inactive: 1})
		node.set(func() { node.addresses = node.addresses[:1] })
		began := time.Now()
		services.set(func() {
			services.update.Services = []sync.Service{shop("web", 30080, "10.244.1.1:8080"), shop("stuck", 30081, "10.244.1.8:8080", "10.244.1.9:8080")}
		})
		o, err := loop.Overview(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := ReadKernel(t.Context(), kernel, o.OurKeys())

		s := NewStatus("node1", "dev", "a test", o)
		lost := slices.IndexFunc(s.Addresses, func(a Address) bool { return a.Address == onB.String() })
		if lost < 0 || s.Addresses[lost].Until == nil || !s.Addresses[lost].Until.Equal(began.Add(time.Minute)) || !strings.Contains(s.Addresses[lost].String(), "lost it a moment ago") {
			t.Errorf("of the address that vanished it says: %+v", s.Addresses)
		}
		if s.Totals.Draining != 2 || s.Totals.Refused == 0 || s.Totals.Operations == 0 || !strings.Contains(s.Health.Error, "cannot allocate memory") {
			t.Errorf("totals %+v, health %+v", s.Totals, s.Health)
		}
		for _, svc := range s.Services {
			switch p := svc.Ports[0]; {
			case svc.Name == "web" && (p.State != Served || p.Draining != 1 || p.Endpoints != 1):
				t.Errorf("web is %+v", p)
			case svc.Name == "stuck" && (p.State != Partly || !strings.Contains(p.Reason, "the kernel does not take all of it")):
				t.Errorf("stuck is %+v", p)
			}
		}

		e, _ := Explain("node1", o, shopWeb, k)
		i := slices.IndexFunc(e.Ports[0].Endpoints, func(e ExplainedEndpoint) bool { return e.Address == leaves.String() })
		if i < 0 {
			t.Fatalf("the endpoint that drains is not among %+v", e.Ports[0].Endpoints)
		}
		if d := e.Ports[0].Endpoints[i]; d.Use != "draining" || d.Since == nil || !d.Since.Equal(began) || d.Active != 2 || d.Inactive != 1 || d.Weight != 0 ||
			!strings.Contains(d.Reason, "until they end") {
			t.Errorf("what drains is %+v", d)
		}
		for _, f := range e.Ports[0].Frontends {
			if len(f.Pending) > 0 || f.Waiting != "" {
				t.Errorf("nothing is to be done, and %+v", f)
			}
		}
		e, _ = Explain("node1", o, sync.ServiceID{Namespace: "shop", Name: "stuck"}, k)
		tables, wide := texts(t, e)
		f := e.Ports[0].Frontends[slices.IndexFunc(e.Ports[0].Frontends, func(f ExplainedFrontend) bool { return f.Address == onA.String() })]
		if !slices.Equal(f.Pending, []string{"add-real 10.244.1.9:8080 masq weight 1"}) || !strings.Contains(f.Waiting, "cannot allocate memory") || f.Again == nil || !f.Again.After(began) {
			t.Errorf("what the kernel does not take is %+v", f)
		}
		for _, text := range []string{tables, wide} {
			if !strings.Contains(text, "10.1.0.10: pending: add-real 10.244.1.9:8080") || !strings.Contains(text, "10.1.0.10: refused: ") {
				t.Errorf("it is printed as\n%s", text)
			}
		}

		state, err := filter.New(nft, filter.Options{}).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := Diff("node1", o, kernel.Table(), &state)
		if d.Same() || len(d.Frontends) != 1 || d.Frontends[0].Frontend != keyText(stuck) || d.Frontends[0].Service != "shop/stuck" ||
			!strings.Contains(d.Frontends[0].Waiting, "cannot allocate memory") || d.Draining != 2 || len(d.Nftables) > 0 {
			t.Errorf("the difference is %+v", d)
		}
		if text, _ := texts(t, d); !strings.Contains(text, "(2 real servers drain)") || !strings.Contains(text, "tried and refused: ") {
			t.Errorf("it is printed as\n%s", text)
		}
	})
}
