package sync

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// Whatever came in which order: the result is that of a state that sees the last inputs alone, and it is a right one.
func TestBoundsDecideByWhatThereIsAndNotByWhatWas(t *testing.T) {
	for seed := range seeds(t, 100) {
		dice := rand.New(rand.NewPCG(seed, 6))
		b := Bounds{Services: dice.IntN(6), VirtualServers: dice.IntN(14), RealServers: dice.IntN(3)}
		s, last := bounded(b), map[string]Service{}
		for range 60 {
			n := dice.IntN(8)
			svc := service(fmt.Sprintf("s%d", n), uint16(30000+n), "10.244.1.2:8080", "10.244.1.3:8080", "10.244.1.4:8080")
			svc.Created = svc.Created.Add(time.Duration(dice.IntN(4)) * time.Hour)
			for range dice.IntN(3) {
				more := svc.Ports[0]
				more.NodePort += uint16(100 * len(svc.Ports))
				svc.Ports = append(svc.Ports, more)
			}
			last[svc.ID.Name] = svc
			if dice.IntN(3) == 0 {
				svc = gone(svc.ID.Name)
				delete(last, svc.ID.Name)
			}
			s.Update(Update{Services: []Service{svc}})
			if dice.IntN(2) == 0 {
				s.Resolve()
			}
		}
		s.Resolve()
		fresh := bounded(b, slices.Collect(maps.Values(last))...)
		if diff := cmp.Diff(brief(fresh.Table()), brief(s.Table())); diff != "" {
			t.Fatalf("seed %d, %+v: (-fresh +with history)\n%s", seed, b, diff)
		}
		if diff := cmp.Diff(fresh.Problems(), s.Problems()); diff != "" {
			t.Fatalf("seed %d, %+v: (-fresh +with history)\n%s", seed, b, diff)
		}
		if got, want := served(t, s), admitted(b, slices.Collect(maps.Values(last))); got != want {
			t.Fatalf("seed %d, %+v: served: %q, want %q", seed, b, got, want)
		}
	}
}

// admitted restates the rule: a Service is served if it fits together with all older ones that fit into an empty node.
func admitted(b Bounds, all []Service) string {
	size := func(svc Service) int { return 2 * len(svc.Ports) }
	older := func(o, svc Service) bool {
		return o.Created.Before(svc.Created) || o.Created.Equal(svc.Created) && o.ID.Name <= svc.ID.Name
	}
	var names []string
	for _, svc := range all {
		services, servers := 0, 0
		for _, o := range all {
			if older(o, svc) && (b.VirtualServers == 0 || size(o) <= b.VirtualServers) {
				services, servers = services+1, servers+size(o)
			}
		}
		if (b.Services == 0 || services <= b.Services) && (b.VirtualServers == 0 || servers <= b.VirtualServers && size(svc) <= b.VirtualServers) {
			names = append(names, svc.ID.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestALoweredBoundDrainsTheNewestAndTouchesNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(aged(3)...)
		g.stop()
		kernel.SetConnections(tcp("10.1.0.10", 30002), netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{Active: 1})
		g = start(t, kernel, nft, func(c *Config) {
			c.Bounds.Services = 1
			c.Kernel = &witness{Handle: c.Kernel, saw: func(op ipvs.Op) {
				if op.Key.Port == 30000 {
					t.Errorf("%s, of the oldest Service", op)
				}
			}}
		})
		g.serve(aged(3)...)
		const oldest = "tcp://10.1.0.10:30000 rr 10.244.1.2:8080*1"
		g.after(10 * time.Second)
		if ports, _, _ := g.overview().ViewService(ServiceID{Namespace: "default", Name: "s2"}); ports[0].NotServed == "" {
			t.Error("the overview does not say that it is left out")
		}
		g.expect(oldest, "tcp://10.1.0.10:30002 rr 10.244.1.2:8080*0")
		g.after(6 * time.Minute)
		g.expect(oldest)
		if got := g.rules().Owned.Keys(); len(got) != 1 {
			t.Errorf("owned: %v", got)
		}
		g.stop()
		g = start(t, kernel, nft)
		g.serve(aged(3)...)
		g.expect(oldest, "tcp://10.1.0.10:30001 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30002 rr 10.244.1.2:8080*1")
	})
}

// The histories of TestAnyHistoryEndsInTheStateOfItsLastInputs, with less room than their Services ask for.
func TestAnyHistoryWithinBoundsEndsInTheStateOfItsLastInputs(t *testing.T) {
	const usual = 30
	seen := newTally()
	for seed := range seeds(t, usual) {
		bubble(t, func(t *testing.T, _ *ipvsfake.Kernel, _ *filtertest.Fake) {
			c := newChaos(seed, seen)
			c.bounds = Bounds{Services: 1 + int(seed)%3, VirtualServers: 2 + int(seed)%4, RealServers: 1 + int(seed)%2}
			schedulers := slices.DeleteFunc(ipvsfake.New().Schedulers(), func(name string) bool { return name == "twos" })
			runHistory(t, c, ipvsfake.New(ipvsfake.WithSchedulers(schedulers...)), 0.1*float64(seed%2), nil)
		})
	}
	seen.enough(t, usual)
}

// As long as there is room a change costs the same whatever else the node serves, and no more than without bounds.
func TestBoundsCostNothingAsLongAsThereIsRoom(t *testing.T) {
	cost := func(b Bounds, services int) float64 {
		s := bounded(b, aged(services)...)
		n := 0
		return testing.AllocsPerRun(100, func() {
			n++
			svc := service("s0", uint16(31000+n%2), "10.244.1.2:8080") // the claims change too
			s.Update(Update{Services: []Service{svc}})
			s.Resolve()
		})
	}
	free, few, much := cost(Bounds{}, 10), cost(Bounds{Services: 11, VirtualServers: 22, RealServers: 1}, 10), cost(Bounds{Services: 1000, VirtualServers: 2000, RealServers: 1}, 1000)
	if few > free+2 || much > free+2 {
		t.Errorf("%.0f allocations without bounds, %.0f with room beside 10 Services, %.0f beside 1,000", free, few, much)
	}
}

func BenchmarkOneServiceChangedWhereSomeAreLeftOut(b *testing.B) {
	for _, services := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("%d services", services), func(b *testing.B) {
			s := bounded(Bounds{Services: services - 10}, aged(services)...)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				svc := service("s0", uint16(50000+i%2), "10.244.1.2:8080")
				s.Update(Update{Services: []Service{svc}})
				s.Resolve()
			}
		})
	}
}
