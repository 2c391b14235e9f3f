package sync

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// narrowed is the Service with networks as an author writes them.
func narrowed(svc Service, networks string) Service {
	spec, err := nodeaddr.ParseSpec([]string{networks})
	if err != nil {
		panic(err)
	}
	svc.Networks = &spec
	return svc
}

// twoNetworks is a node in two networks, of which the first is primary.
func twoNetworks() []nodeaddr.Place {
	return []nodeaddr.Place{
		{Addr: netip.MustParseAddr("10.1.0.10"), Interfaces: []string{"eth0"}, Primary: true},
		{Addr: netip.MustParseAddr("10.2.0.10"), Interfaces: []string{"eth1"}},
		{Addr: netip.MustParseAddr("fd01::10"), Interfaces: []string{"eth0"}, Primary: true},
	}
}

func TestServiceIsServedOnTheNetworksThatItChooses(t *testing.T) {
	for _, c := range []struct {
		name, networks string
		want           []string
	}{
		{"all", "all", []string{"10.1.0.10", "10.2.0.10", "fd01::10"}},
		{"a network", "10.2.0.0/16", []string{"10.2.0.10"}},
		{"an interface", "iface:eth0", []string{"10.1.0.10", "fd01::10"}},
		{"primary", "primary", []string{"10.1.0.10", "fd01::10"}},
		{"none that the node has", "192.0.2.0/24", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := balanced("web", 30080, 32000, "10.244.1.2")
			svc = narrowed(svc, c.networks)
			s := stateAt(twoNetworks(), svc, service("other", 30081))
			var want []string
			for _, addr := range c.want {
				want = append(want, tcp(addr, 30080).String())
			}
			var got []string
			for _, key := range s.Keys() {
				if key.Port == 30080 {
					got = append(got, key.String())
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("frontends (-want +got):\n%s", diff)
			}
			var asked []string
			for _, a := range s.ViewChecks()[0].Addresses {
				asked = append(asked, a.Addr.String())
			}
			if diff := cmp.Diff(c.want, asked); diff != "" {
				t.Errorf("health checks (-want +got):\n%s", diff)
			}
			if n := len(s.Keys()); n != len(c.want)+3 {
				t.Errorf("the other Service is served on %d addresses", n-len(c.want))
			}
			if problems := s.Problems(); len(problems) != 0 {
				t.Errorf("a choice is a problem: %v", problems)
			}
		})
	}
}

// A Service that is only asked for its health, and not on this node.
func TestHealthCheckOnNetworksThatTheNodeLacksIsNoProblem(t *testing.T) {
	svc := narrowed(balanced("web", 30080, 32000, "10.244.1.2"), "192.0.2.0/24")
	svc.Ports = nil
	if problems := stateAt(twoNetworks(), svc).Problems(); len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
}

func TestPlanSaysWhyAServiceIsOnNoAddress(t *testing.T) {
	const networks, family = "the Service's networks select no address that serves on this node", "no address of this node is chosen for its address family"
	only6 := service("web", 30080)
	only6.Families = IPv6
	for _, c := range []struct {
		name   string
		svc    Service
		places []nodeaddr.Place
		want   string
	}{
		{"its networks", narrowed(web(), "192.0.2.0/24"), twoNetworks(), networks},
		{"its networks, of which the node has one in the other family", narrowed(only6, "10.0.0.0/8"), twoNetworks(), networks},
		{"its family, whatever its networks", narrowed(only6, "10.0.0.0/8"), twoNetworks()[:2], family},
		{"its family", only6, twoNetworks()[:2], family},
		{"no address", narrowed(web(), "all"), nil, family},
		{"nothing", narrowed(web(), "10.2.0.0/16"), twoNetworks(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.svc.HealthCheckNodePort = 32000
			s := stateAt(c.places, c.svc)
			if got := s.View()[0].NotServed; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := s.ViewChecks()[0].NotAnswered; got != c.want {
				t.Errorf("its health check: %q, want %q", got, c.want)
			}
		})
	}
}

// Two Services may have one node port if they choose different networks.
func TestServicesOnDifferentNetworksShareANodePort(t *testing.T) {
	inside, outside := narrowed(service("inside", 30080), "iface:eth1"), narrowed(service("outside", 30080), "10.1.0.0/16")
	s := stateAt(twoNetworks(), inside, outside)
	for addr, name := range map[string]string{"10.1.0.10": "outside", "10.2.0.10": "inside"} {
		if f, _ := s.Want(tcp(addr, 30080)); f.Service.Name != name {
			t.Errorf("%s is of %q, want %s", addr, f.Service.Name, name)
		}
	}
	if problems := s.Problems(); len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
	s.Update(Update{Services: []Service{narrowed(outside, "all")}})
	s.Resolve()
	if f, _ := s.Want(tcp("10.2.0.10", 30080)); f.Service.Name != "inside" || len(s.Problems()) != 1 {
		t.Errorf("10.2.0.10 is of %q, problems %v", f.Service.Name, s.Problems())
	}
}

// An address that moves to another interface, or becomes the Node's, is the same address and another place.
func TestPlaceThatChangesMovesTheServicesThatChooseByIt(t *testing.T) {
	s := stateAt(twoNetworks(), narrowed(service("by-interface", 30080), "iface:eth1"), narrowed(service("primary", 30081), "primary"), service("any", 30082))
	moved := twoNetworks()
	moved[0].Interfaces, moved[0].Primary, moved[1].Primary = []string{"eth1"}, false, true
	s.SetPlaces(moved)
	changed := s.Resolve()
	want := []frontend.Key{tcp("10.1.0.10", 30080), tcp("10.1.0.10", 30081), tcp("10.2.0.10", 30081)}
	slices.SortFunc(want, frontend.Key.Compare)
	if diff := cmp.Diff(want, changed, cmp.Comparer(sameKey)); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	s.SetPlaces(slices.Clone(moved))
	if len(s.claims) != 0 {
		t.Errorf("the same places concern %v", s.claims)
	}
}

func drawPlaces(t *rapid.T) []nodeaddr.Place {
	place := rapid.Custom(func(t *rapid.T) nodeaddr.Place {
		return nodeaddr.Place{
			Addr:       netip.MustParseAddr(rapid.SampledFrom([]string{"10.1.0.10", "10.2.0.10", "192.0.2.1", "fd01::10"}).Draw(t, "address")),
			Interfaces: slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"eth0", "eth1"}), 0, 2, rapid.ID[string]).Draw(t, "interfaces"))),
			Primary:    rapid.Bool().Draw(t, "primary"),
		}
	})
	return rapid.SliceOfNDistinct(place, 0, 4, func(p nodeaddr.Place) netip.Addr { return p.Addr }).Draw(t, "places")
}

func drawNarrowed(t *rapid.T) Service {
	svc := service(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), rapid.SampledFrom([]uint16{30080, 30081}).Draw(t, "port"), stays)
	svc.Families = rapid.SampledFrom([]Families{IPv4, IPv6, IPv4 | IPv6}).Draw(t, "families")
	if networks := rapid.SampledFrom([]string{"", "all", "primary", "iface:eth1", "10.0.0.0/8", "fd00::/8,iface:eth0", "198.51.100.0/24"}).Draw(t, "networks"); networks != "" {
		svc = narrowed(svc, networks)
	}
	return svc
}

// Whatever the places and Services were before, the result is that of the last ones, and nobody is served where the node
// does not serve.
func TestAnyHistoryOfPlacesGivesTheStateOfTheLastOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
		services := map[ServiceID]Service{}
		var last []nodeaddr.Place
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "places change") {
				last = drawPlaces(t)
				s.SetPlaces(last)
			} else {
				svc := drawNarrowed(t)
				services[svc.ID] = svc
				s.Update(Update{Services: []Service{svc}})
			}
			if rapid.Bool().Draw(t, "resolve") {
				s.Resolve()
			}
		}
		s.Resolve()
		var all []Service
		for _, svc := range services {
			all = append(all, svc)
		}
		fresh := stateAt(last, all...)
		if diff := cmp.Diff(brief(fresh.Table()), brief(s.Table())); diff != "" {
			t.Fatalf("table (-fresh +incremental):\n%s", diff)
		}
		if diff := cmp.Diff(fresh.Problems(), s.Problems()); diff != "" {
			t.Fatalf("problems (-fresh +incremental):\n%s", diff)
		}
		for _, key := range s.Keys() {
			f, _ := s.Want(key)
			i := slices.IndexFunc(last, func(p nodeaddr.Place) bool { return p.Addr == key.Addr })
			if i < 0 || !services[f.Service].servedAt(last[i]) {
				t.Fatalf("%s is served for %s", key, f.Service)
			}
		}
	})
}

func TestServiceThatLeavesANetworkDrainsThereAndStaysElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web(leaves))
		busy(kernel, 1)
		writes := kernel.Writes()
		g.deliver(narrowed(web(leaves), "10.2.0.0/16"))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*0", "tcp://10.2.0.10:30080 rr 10.244.2.2:8080*1")
		if n := kernel.Writes() - writes; n != 1 {
			t.Errorf("%d operations, want the one that sets the weight", n)
		}
		busy(kernel, 0)
		g.after(10 * time.Second)
		g.expect("tcp://10.2.0.10:30080 rr 10.244.2.2:8080*1")
		if g.rules().Owned.Has(tcp("10.1.0.10", 30080)) {
			t.Error("it is still owned where it is not served")
		}
		g.deliver(web(leaves))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*1", "tcp://10.2.0.10:30080 rr 10.244.2.2:8080*1")
	})
}

// An interface's address that flaps is still the interface's.
func TestServiceOnAnInterfaceKeepsTheGraceOfItsAddress(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(narrowed(web(stays), "iface:eth0"))
		writes := kernel.Writes()
		g.addresses.set("10.1.0.10")
		g.after(50 * time.Second)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.after(time.Minute)
		if n := kernel.Writes() - writes; n != 0 {
			t.Errorf("%d writes for a flap", n)
		}
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// What is primary is the Node's, also of an address that is away when the agent restarts.
func TestServiceOnThePrimaryAddressFollowsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		deliver := func(g *rig, primary string, addrs ...string) {
			g.addresses.set(addrs...)
			node := Node{Name: "node1", InternalIPs: []netip.Addr{netip.MustParseAddr(primary)}}
			g.source.deliver(func(u *Update) { u.Node, u.Services = &node, []Service{narrowed(web(stays), "primary")} })
			g.after(time.Second)
		}
		const first, second = "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1"
		g := start(t, kernel, nft)
		deliver(g, "10.1.0.10", "10.1.0.10", "10.2.0.10")
		g.expect(first)
		deliver(g, "10.2.0.10", "10.1.0.10", "10.2.0.10")
		g.after(time.Minute)
		g.expect(second)
		g.stop()
		writes := kernel.Writes()
		g = start(t, kernel, nft)
		deliver(g, "10.2.0.10", "10.1.0.10")
		g.after(50 * time.Second)
		g.expect(second)
		if n := kernel.Writes() - writes; n != 0 {
			t.Errorf("%d writes for an address that is away for a moment", n)
		}
	})
}
