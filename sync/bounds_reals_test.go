package sync

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// crowd is a Service with n endpoints of each family, from first on.
func crowd(first, n int) Service {
	svc := service("web", 30080)
	for _, form := range []string{"10.244.%d.%d", "fd44::%x:%x"} {
		for i := first; i < first+n; i++ {
			addr := netip.MustParseAddr(fmt.Sprintf(form, i/250, 1+i%250))
			svc.Ports[0].Endpoints = append(svc.Ports[0].Endpoints, Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Ready: true, Serving: true})
		}
	}
	return svc
}

// reals are the real servers of the Service of crowd on an address.
func reals(s *State, addr string) map[netip.AddrPort]bool {
	set := map[netip.AddrPort]bool{}
	f, _ := s.Want(tcp(addr, 30080))
	for a := range f.Entry.Reals {
		set[a] = true
	}
	return set
}

func TestAVirtualServerHasNoMoreRealServersThanItMay(t *testing.T) {
	for _, c := range []struct{ bound, want, problems int }{{0, 10, 0}, {11, 10, 0}, {10, 10, 0}, {9, 9, 2}, {1, 1, 2}} {
		s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, Bounds: Bounds{RealServers: c.bound}})
		s.SetPlaces(at(netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")))
		s.Update(Update{Services: []Service{crowd(0, 10)}})
		s.Resolve()
		for _, addr := range []string{"10.1.0.10", "fd01::10"} {
			if got := len(reals(s, addr)); got != c.want {
				t.Errorf("with a bound of %d %s has %d real servers", c.bound, addr, got)
			}
		}
		problems := s.Problems()
		if len(problems) != c.problems {
			t.Errorf("with a bound of %d: %v", c.bound, problems)
		}
		for _, p := range problems {
			if p.Reason != OverLimit || p.Skipped {
				t.Errorf("%+v", p)
			}
		}
		used := 0
		for _, e := range s.View()[0].Endpoints {
			switch {
			case e.Use == GetsConnections:
				used++
			case !strings.Contains(e.Why, "--max-real-servers"):
				t.Errorf("%s is not used: %s", e.Addr, e.Why)
			}
		}
		if used != 2*c.want {
			t.Errorf("with a bound of %d the view has %d endpoints in use", c.bound, used)
		}
	}
}

// Endpoints in maintenance get no connection, and take no place.
func TestEndpointsInMaintenanceTakeNoPlace(t *testing.T) {
	svc := crowd(0, 4)
	for i := range svc.Ports[0].Endpoints {
		svc.Ports[0].Endpoints[i].Maintenance = i%2 == 0
	}
	s := bounded(Bounds{RealServers: 2}, svc)
	if got := len(reals(s, "10.1.0.10")); got != 2 || len(s.Problems()) != 0 {
		t.Errorf("%d real servers, problems %v", got, s.Problems())
	}
	if f, _ := s.Want(tcp("10.1.0.10", 30080)); len(f.Quiet) != 2 {
		t.Errorf("in maintenance: %v", f.Quiet)
	}
}

func TestAnEndpointThatComesOrGoesChangesOneRealServerAtMost(t *testing.T) {
	const bound = 50
	s := bounded(Bounds{RealServers: bound}, crowd(0, 200))
	before, spread := reals(s, "10.1.0.10"), 0
	for first := 1; first < 120; first++ { // one goes, one comes
		s.Update(Update{Services: []Service{crowd(first, 200)}})
		s.Resolve()
		now, lost := reals(s, "10.1.0.10"), 0
		for addr := range before {
			if !now[addr] {
				lost++
			}
		}
		if len(now) != bound || lost > 2 {
			t.Fatalf("with endpoint %d: %d real servers, %d of them new", first, len(now), lost)
		}
		before = now
	}
	for addr := range before { // of endpoints 119 to 318, in the order of their addresses
		if a := addr.Addr().As4(); int(a[2])*250+int(a[3]) < 220 {
			spread++
		}
	}
	if spread < 15 || spread > 35 {
		t.Errorf("%d of %d real servers are in the lower half of the addresses", spread, bound)
	}
}

// A real server that has to make room for another keeps its connections for as long as it lives.
func TestARealServerThatMakesRoomKeepsItsConnections(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(crowd(0, 3))
		var out netip.AddrPort
		few := reals(bounded(Bounds{RealServers: 2}, crowd(0, 3)), "10.1.0.10")
		for addr := range reals(g.state, "10.1.0.10") {
			if !few[addr] {
				out = addr
			}
		}
		g.stop()
		kernel.SetConnections(tcp("10.1.0.10", 30080), out, ipvs.Connections{Active: 1})
		g = start(t, kernel, nft, func(c *Config) { c.Bounds.RealServers = 2 })
		g.serve(crowd(0, 3))
		weights := func() map[netip.AddrPort]uint32 {
			all := map[netip.AddrPort]uint32{}
			for addr, real := range g.kernel.Table()[tcp("10.1.0.10", 30080)].Reals {
				all[addr] = real.Weight
			}
			return all
		}
		g.after(time.Hour)
		want := map[netip.AddrPort]uint32{out: 0}
		for addr := range few {
			want[addr] = 1
		}
		if diff := cmp.Diff(want, weights(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("while it is used (-want +got):\n%s", diff)
		}
		kernel.SetConnections(tcp("10.1.0.10", 30080), out, ipvs.Connections{})
		g.after(time.Minute)
		if _, there := weights()[out]; there {
			t.Error("it stays although nobody uses it")
		}
	})
}
