package sync

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// bounded is a state with the Services on two addresses.
func bounded(b Bounds, services ...Service) *State {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, Bounds: b})
	s.SetPlaces(at(netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")))
	s.Update(Update{Services: services})
	s.Resolve()
	return s
}

// aged are n Services of one port each, s0 the oldest.
func aged(n int) []Service {
	var all []Service
	for i := range n {
		svc := service(fmt.Sprintf("s%d", i), uint16(30000+i), "10.244.1.2:8080")
		svc.Created = svc.Created.Add(time.Duration(i) * time.Hour)
		all = append(all, svc)
	}
	return all
}

// served are the names of the Services that are, wholly, sorted. A Service that is served in part fails the test.
func served(t *testing.T, s *State) string {
	t.Helper()
	var names []string
	have := map[ServiceID]int{}
	for _, f := range s.want {
		have[f.Service]++
	}
	for id, n := range have {
		if want := len(s.services[id].Ports) * len(s.places); n != want {
			t.Errorf("%s has %d virtual servers of %d", id, n, want)
		}
		names = append(names, id.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestBoundsLeaveOutTheNewestServicesAndNoOther(t *testing.T) {
	for _, c := range []struct {
		name   string
		bounds Bounds
		want   string
	}{
		{"no bounds", Bounds{}, "s0 s1 s2 s3"},
		{"one Service more than there are", Bounds{Services: 5}, "s0 s1 s2 s3"},
		{"as many Services as there are", Bounds{Services: 4}, "s0 s1 s2 s3"},
		{"one fewer", Bounds{Services: 3}, "s0 s1 s2"},
		{"one", Bounds{Services: 1}, "s0"},
		{"as many virtual servers as there are", Bounds{VirtualServers: 8}, "s0 s1 s2 s3"},
		{"one virtual server fewer", Bounds{VirtualServers: 7}, "s0 s1 s2"},
		{"half a Service more than two", Bounds{VirtualServers: 5}, "s0 s1"},
		{"two Services' worth", Bounds{VirtualServers: 4}, "s0 s1"},
		{"fewer than any asks for", Bounds{VirtualServers: 1}, ""},
		{"both, the first is reached", Bounds{Services: 1, VirtualServers: 6}, "s0"},
		{"both, the second is reached", Bounds{Services: 3, VirtualServers: 4}, "s0 s1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := bounded(c.bounds, aged(4)...)
			if got := served(t, s); got != c.want {
				t.Errorf("served: %q, want %q", got, c.want)
			}
			left := 4 - len(strings.Fields(c.want))
			for _, p := range s.Problems() {
				if p.Reason == OverLimit && p.Skipped && strings.Contains(p.Message, "--max-") {
					left--
				}
			}
			if left != 0 || len(s.Problems()) != 4-len(strings.Fields(c.want)) {
				t.Errorf("the problems are %v", s.Problems())
			}
		})
	}
}

func TestServicesOfOneAgeAreLeftOutByTheirNames(t *testing.T) {
	b, a := service("b", 30001), service("a", 30002)
	if got := served(t, bounded(Bounds{Services: 1}, b, a)); got != "a" {
		t.Errorf("served: %q", got)
	}
}

func TestAServiceLargerThanTheNodeKeepsNobodyOut(t *testing.T) {
	all := aged(3)
	for port := range uint16(4) {
		more := all[0].Ports[0]
		more.NodePort += 100 + port
		all[0].Ports = append(all[0].Ports, more)
	}
	s := bounded(Bounds{VirtualServers: 9}, all...)
	if got := served(t, s); got != "s1 s2" {
		t.Errorf("served: %q", got)
	}
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "kube-ipvs.io/networks") {
		t.Errorf("the problems are %v", p)
	}
}

// A newer Service that would fit beside one that does not waits for it. So when s1 goes nobody who is served loses its place.
func TestWhatGoesNeverTakesAPlaceFromSomebodyElse(t *testing.T) {
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 5))
		all := aged(6)
		for i := range all {
			for range dice.IntN(3) {
				more := all[i].Ports[0]
				more.NodePort += uint16(100 * len(all[i].Ports))
				all[i].Ports = append(all[i].Ports, more)
			}
		}
		s := bounded(Bounds{Services: 1 + dice.IntN(5), VirtualServers: 2 + dice.IntN(16)}, all...)
		before, leaver := strings.Fields(served(t, s)), all[dice.IntN(len(all))]
		s.Update(Update{Services: []Service{gone(leaver.ID.Name)}})
		s.Resolve()
		now := served(t, s)
		for _, name := range before {
			if name != leaver.ID.Name && !slices.Contains(strings.Fields(now), name) {
				t.Fatalf("seed %d: %s went, and %s lost its place: %v, then %s", seed, leaver.ID.Name, name, before, now)
			}
		}
	}
}

// Whoever is left out has the next place that becomes free, and nothing else happens then.
func TestTheNextServiceTakesThePlaceThatBecomesFree(t *testing.T) {
	s := bounded(Bounds{Services: 2}, aged(4)...)
	s.News()
	s.Update(Update{Services: []Service{gone("s0")}})
	changed := s.Resolve()
	if got := served(t, s); got != "s1 s2" || len(changed) != 4 {
		t.Errorf("served: %q; changed: %v", got, changed)
	}
	if news := s.News(); len(news) != 1 || len(news[ServiceID{Namespace: "default", Name: "s2"}]) != 0 {
		t.Errorf("news: %v", news)
	}
}

// An older Service comes before a newer one that is served: that is the price of the same result on every node.
func TestAnOlderServiceThatAppearsIsServedInsteadOfTheNewest(t *testing.T) {
	all := aged(4)
	s := bounded(Bounds{Services: 2}, all[0], all[2], all[3])
	s.Update(Update{Services: []Service{all[1]}})
	if changed := s.Resolve(); len(changed) != 4 {
		t.Errorf("changed: %v", changed)
	}
	if got := served(t, s); got != "s0 s1" {
		t.Errorf("served: %q", got)
	}
}

func TestAServiceMadeAnewIsTheNewest(t *testing.T) {
	all := aged(3)
	s := bounded(Bounds{Services: 2}, all...)
	all[0].UID, all[0].Created = "another", all[2].Created.Add(time.Hour)
	s.Update(Update{Services: all[:1]})
	s.Resolve()
	if got := served(t, s); got != "s1 s2" {
		t.Errorf("served: %q", got)
	}
}

func TestAnAddressMoreCountsForEveryService(t *testing.T) {
	s := bounded(Bounds{VirtualServers: 8}, aged(4)...)
	three := at(netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("10.3.0.10"))
	for _, c := range []struct {
		addrs int
		want  string
	}{{3, "s0 s1"}, {2, "s0 s1 s2 s3"}, {1, "s0 s1 s2 s3"}, {0, ""}, {3, "s0 s1"}} {
		s.SetPlaces(three[:c.addrs])
		s.Resolve()
		if got := served(t, s); got != c.want {
			t.Errorf("with %d addresses are served: %q, want %q", c.addrs, got, c.want)
		}
	}
}

func TestHealthChecksAreNoVirtualServers(t *testing.T) {
	all := aged(2)
	all[0].HealthCheckNodePort = 32000
	if got := served(t, bounded(Bounds{VirtualServers: 4}, all...)); got != "s0 s1" {
		t.Errorf("served: %q", got)
	}
}

// Whoever is left out keeps its ports: nobody else is served there, and nobody answers its load balancer.
func TestWhoIsLeftOutKeepsItsPortsAndAnswersNobody(t *testing.T) {
	all := aged(2)
	all[1].HealthCheckNodePort, all[1].LocalReady = 32000, []netip.Addr{netip.MustParseAddr("10.244.1.2")}
	s := bounded(Bounds{Services: 1}, all...)
	if holder, _ := s.ledger.Holder(tcp("10.1.0.10", 30001)); holder.Name != "s1" {
		t.Errorf("the port is held by %v", holder)
	}
	if checks, _ := s.Checks(); len(checks) != 0 {
		t.Errorf("health checks: %v", checks)
	}
	ports, check, _ := s.ViewService(all[1].ID)
	if check.NotAnswered == "" || len(ports) != 1 || !strings.Contains(ports[0].NotServed, "--max-services") {
		t.Errorf("%+v, health check %+v", ports, check)
	}
	for _, use := range s.ViewPorts().Ports {
		if mine := use.Owner == all[1].ID; use.Served == mine {
			t.Errorf("%+v", use)
		}
	}
	s.Update(Update{Services: []Service{gone("s0")}})
	s.Resolve()
	if checks, changed := s.Checks(); len(checks) != 2 || !changed {
		t.Errorf("health checks with room: %v, changed %t", checks, changed)
	}
}
