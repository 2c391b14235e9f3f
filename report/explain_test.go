package report

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

var (
	shopWeb = sync.ServiceID{Namespace: "shop", Name: "web"}
	onA     = netip.MustParseAddr("10.1.0.10")
	onB     = netip.MustParseAddr("10.2.0.10")
)

// node is a state of a node with two addresses and the Service shop/web, which has two endpoints.
func node(change ...func(*sync.Service)) *sync.State {
	s := sync.NewState(sync.Defaults{Scheduler: "rr", NodePortRange: allocator.Range{First: 30000, Last: 32767}})
	s.SetPodsKnown(sync.IPv4 | sync.IPv6)
	s.SetPlaces(nodeaddr.Places([]netip.Addr{onA, onB}, nil, nil, nil))
	svc := sync.Service{ID: shopWeb, Families: sync.IPv4, Ports: []sync.ServicePort{{
		Name: "http", Port: 80, NodePort: 30080, Protocol: frontend.TCP, Endpoints: []sync.Endpoint{
			{Addr: netip.MustParseAddrPort("10.244.1.1:8080"), Ready: true, Serving: true, Node: "node1", Target: "Pod shop/web-1"},
			{Addr: netip.MustParseAddrPort("10.244.2.1:8080"), Node: "node2", Target: "Pod shop/web-2"},
		},
	}}}
	for _, f := range change {
		f(&svc)
	}
	s.Update(sync.Update{Services: []sync.Service{svc}})
	s.Resolve()
	return s
}

// noon is when the documents of tests are made.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func overview(s *sync.State) *sync.Overview {
	o := sync.NewOverview(s, []nodeaddr.Address{{Addr: onA, Interface: "eth0"}, {Addr: onB, Interface: "eth1"}}, []nodeaddr.Rejected{
		{Address: nodeaddr.Address{Addr: netip.MustParseAddr("192.168.7.1"), Interface: "eth2"}, Reason: "not selected by --nodeport-addresses"},
	})
	o.Time = noon
	return o
}

// Every kind of problem is told by explain, with what to do about it.
func TestExplainTellsOfEveryKindOfProblem(t *testing.T) {
	with := func(p sync.Problem) func(*sync.Service) {
		return func(svc *sync.Service) { svc.Problems = append(svc.Problems, p) }
	}
	kinds := map[sync.Reason]func() *sync.State{
		sync.Invalid: func() *sync.State {
			return node(with(sync.Problem{Object: "Service shop/web", Reason: sync.Invalid, Message: "a port cannot be read", Skipped: true}))
		},
		sync.Unsupported: func() *sync.State {
			return node(func(svc *sync.Service) { svc.Ports[0].SlowStart = time.Minute })
		},
		sync.Conflict: func() *sync.State {
			s := node(func(svc *sync.Service) { svc.Created = noon })
			older := sync.Service{ID: sync.ServiceID{Namespace: "shop", Name: "old"}, Created: noon.Add(-time.Hour), Families: sync.IPv4, Ports: []sync.ServicePort{{NodePort: 30080, Protocol: frontend.TCP}}}
			s.Update(sync.Update{Services: []sync.Service{older}})
			return s
		},
		sync.NoAddress: func() *sync.State {
			return node(func(svc *sync.Service) { svc.Families = sync.IPv6 })
		},
		sync.NoPodNetwork: func() *sync.State {
			s := node(func(svc *sync.Service) { svc.Ports[0].Policy = sync.Local })
			s.SetPodsKnown(0)
			return s
		},
		sync.KernelRefused: func() *sync.State {
			s := node(func(svc *sync.Service) { svc.Ports[0].Scheduler = "mh" })
			s.SetRefused([]string{"mh"})
			return s
		},
		sync.ListenFailed: func() *sync.State {
			s := node(func(svc *sync.Service) { svc.HealthCheckNodePort = 32000 })
			s.SetListenErrors(map[netip.AddrPort]error{netip.AddrPortFrom(onA, 32000): errors.New("address already in use")})
			return s
		},
		sync.PortInUse: func() *sync.State {
			s := node()
			s.SetListeners([]sync.Listener{{Listener: host.Listener{Addr: onA, Port: 30080, Protocol: frontend.TCP}, Process: "nginx (process 7)"}})
			return s
		},
		sync.OutOfRange: func() *sync.State {
			return node(func(svc *sync.Service) { svc.Ports[0].NodePort = 8443 })
		},
		sync.OverLimit: func() *sync.State {
			s := node()
			s.Bounds.VirtualServers = 1
			for _, addrs := range [][]netip.Addr{{onA}, {onA, onB}} {
				s.Resolve()
				s.SetPlaces(nodeaddr.Places(addrs, nil, nil, nil))
			}
			return s
		},
	}
	for _, reason := range sync.Reasons() {
		t.Run(string(reason), func(t *testing.T) {
			make := kinds[reason]
			if make == nil {
				t.Fatal("no scenario has it: write one")
			}
			s := make()
			s.Resolve()
			e, known := Explain("node1", overview(s), shopWeb, Kernel{Err: errors.New("not looked at")})
			if !known {
				t.Fatal("the Service is not known")
			}
			i := slices.IndexFunc(e.Problems, func(p Problem) bool { return p.Reason == string(reason) })
			if i < 0 {
				t.Fatalf("the problem is not among %+v", e.Problems)
			}
			var b strings.Builder
			if err := e.Table(&b, false); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{e.Problems[i].Message, reason.Advice()} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, b.String())
				}
			}
			compareGolden(t, "testdata/problems/"+string(reason)+".golden", b.String())
		})
	}
}

// Of a Service that cannot be read there is nothing else to explain, and it is not said to be none.
func TestExplainTellsOfAServiceThatCannotBeRead(t *testing.T) {
	s := node()
	broken := sync.ServiceID{Namespace: "shop", Name: "broken"}
	s.Update(sync.Update{Problems: []sync.Problem{
		{Object: "Service shop/broken", Reason: sync.Invalid, Message: "spec is a list", Skipped: true},
		{Object: "Service shop/other", Reason: sync.Invalid, Message: "another one", Skipped: true},
	}})
	s.Resolve()
	e, known := Explain("node1", overview(s), broken, Kernel{})
	if !known || e.State != NotServed || len(e.Problems) != 1 || e.Problems[0].Message != "spec is a list" {
		t.Errorf("known %v: %+v", known, e)
	}
	if len(e.Addresses) == 0 || e.Addresses[0].Reason != "the Service cannot be read" {
		t.Errorf("addresses %+v", e.Addresses)
	}
	if _, known := Explain("node1", overview(s), sync.ServiceID{Namespace: "shop", Name: "none"}, Kernel{}); known {
		t.Error("a Service of which nothing is known is explained")
	}
}

// What is served, drains, waits, or is not to be, told from a kernel that is not as it should be.
func TestExplainTellsTheKernelFromTheWish(t *testing.T) {
	s := node()
	key := frontend.NewKey(onA, frontend.TCP, 30080)
	at := netip.MustParseAddrPort
	k := Kernel{Entries: ipvs.Table{key: {VirtualServer: ipvs.VirtualServer{Scheduler: "wlc"}, Reals: map[netip.AddrPort]ipvs.RealServer{
		at("10.244.1.1:8080"): {Weight: 1}, at("10.244.9.9:8080"): {Weight: 0},
	}}}, Connections: map[frontend.Key]map[netip.AddrPort]ipvs.Connections{key: {at("10.244.1.1:8080"): {Active: 3, Inactive: 4}, at("10.244.9.9:8080"): {Active: 1}}}}
	e, _ := Explain("node1", overview(s), shopWeb, k)
	for _, wide := range []bool{false, true} {
		var b strings.Builder
		if err := e.Table(&b, wide); err != nil {
			t.Fatal(err)
		}
		compareGolden(t, fmt.Sprintf("testdata/kernel_wide_%t.golden", wide), b.String())
	}
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestAHealthCheckThatIsNotAnsweredIsNotSaidToBe(t *testing.T) {
	s := node(func(svc *sync.Service) { svc.HealthCheckNodePort = 32000 })
	s.SetListenErrors(map[netip.AddrPort]error{netip.AddrPortFrom(onA, 32000): errors.New("address already in use")})
	for addr, want := range map[netip.Addr]State{onA: NotServed, onB: NoEndpoints} {
		if e := ExplainAddress("node1", overview(s), netip.AddrPortFrom(addr, 32000), Kernel{}); e.State != want {
			t.Errorf("%s: %q, want %q (%s)", e.Address, e.State, want, e.Summary)
		}
	}
	s.SetAbsent([]netip.Addr{onB})
	if e := ExplainAddress("node1", overview(s), netip.AddrPortFrom(onB, 32000), Kernel{}); e.State != NotServed {
		t.Errorf("on an address that the node lacks: %q", e.State)
	}
}
