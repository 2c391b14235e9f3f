package sync

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// balanced is a Service behind a load balancer that asks on a port, with the addresses of its ready endpoints here.
func balanced(name string, nodePort, checkPort uint16, here ...string) Service {
	svc := service(name, nodePort)
	svc.Ports[0].Policy = Local
	svc.HealthCheckNodePort = checkPort
	for _, text := range here {
		svc.LocalReady = append(svc.LocalReady, netip.MustParseAddr(text))
	}
	return svc
}

// checksOf is a text for each check: "ADDRESS:PORT NAME COUNT", sorted.
func checksOf(s *State) []string {
	want, _ := s.Checks()
	var lines []string
	for addr, c := range want {
		lines = append(lines, fmt.Sprintf("%s %s %d", addr, c.Name, c.LocalEndpoints))
	}
	slices.Sort(lines)
	return lines
}

func TestHealthChecksAndTheirProblems(t *testing.T) {
	both := []string{"10.1.0.10", "fd01::10"}
	only4, alone, younger := balanced("only4", 30081, 32001, "10.244.1.2"), balanced("alone", 0, 32002, "fd44:1::2"), balanced("younger", 30083, 32000)
	only4.Families, alone.Ports, alone.Families = IPv4, nil, IPv6
	younger.Created = younger.Created.Add(time.Hour)
	six := balanced("six", 30084, 32004)
	six.Families = IPv6
	udp := balanced("udp", 30088, 30088)
	udp.Ports[0].Protocol = frontend.UDP
	oldest := balanced("check", 30080, 32003)
	oldest.Created = time.Time{}
	const mend = ": give one of the two another port (a healthCheckNodePort that is set cannot be changed: make the Service anew) [conflict]"
	for _, c := range []struct {
		name     string
		services []Service
		addrs    []string
		checks   []string
		problems []string
	}{
		{"none is asked for", []Service{web()}, both, nil, nil},
		{
			"each family counts by itself",
			[]Service{balanced("web", 30080, 32000, "10.244.1.2", "10.244.1.3", "fd44:1::2")},
			[]string{"10.1.0.10", "10.2.0.10", "fd01::10"},
			[]string{"10.1.0.10:32000 web 2", "10.2.0.10:32000 web 2", "[fd01::10]:32000 web 1"},
			nil,
		},
		{"without endpoints it is answered too", []Service{balanced("web", 30080, 32000)}, both, []string{"10.1.0.10:32000 web 0", "[fd01::10]:32000 web 0"}, nil},
		{"on the Service's families", []Service{only4}, both, []string{"10.1.0.10:32001 only4 1"}, nil},
		{"without node ports", []Service{alone}, both, []string{"[fd01::10]:32002 alone 1"}, nil},
		{"a UDP node port is another port", []Service{udp}, both[:1], []string{"10.1.0.10:30088 udp 0"}, nil},
		{
			"no address of the families",
			[]Service{alone},
			both[:1],
			nil,
			[]string{"Service default/alone: health check port 32002/tcp is not answered here: --nodeport-addresses chooses no address of its family on this node [no-address]"},
		},
		{
			"no address of the families, which its ports say already",
			[]Service{six},
			both[:1],
			nil,
			[]string{"Service default/six: node port 30084/tcp is not served here: --nodeport-addresses chooses no address of its family on this node [no-address]"},
		},
		{
			"no address at all",
			[]Service{alone},
			nil,
			nil,
			[]string{"--nodeport-addresses: no address of this node is chosen, so no node port is served here: kube-ipvs check says what each address lacks [no-address]"},
		},
		{
			"the older of two is answered",
			[]Service{younger, balanced("z-older", 30080, 32000)},
			both[:1],
			[]string{"10.1.0.10:32000 z-older 0"},
			[]string{"Service default/younger: health check port 32000/tcp on 10.1.0.10 belongs to Service default/z-older, which is older" + mend},
		},
		{
			"a node port comes before a health check, whatever the age",
			[]Service{oldest, service("young", 32003)},
			both,
			nil,
			[]string{"Service default/check: health check port 32003/tcp on 10.1.0.10, fd01::10 belongs to Service default/young, which has it as a node port" + mend},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, problems := resolved(c.services, c.addrs...)
			if diff := cmp.Diff(c.checks, checksOf(s)); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			for _, p := range s.Problems() {
				if p.Skipped != (p.Reason == Conflict) {
					t.Errorf("%s: skipped %v", p, p.Skipped)
				}
			}
		})
	}
}

func TestHealthCheckThatLostItsPortIsAnsweredWhenTheHolderLeaves(t *testing.T) {
	s, _ := resolved([]Service{balanced("check", 30080, 32000, "10.244.1.2"), service("web", 32000, "10.244.1.3:80")}, "10.1.0.10")
	if got := checksOf(s); got != nil {
		t.Errorf("answered although it is a node port: %v", got)
	}
	s.Update(Update{Services: []Service{gone("web")}})
	s.Resolve()
	if got, want := checksOf(s), []string{"10.1.0.10:32000 check 1"}; !slices.Equal(got, want) {
		t.Errorf("have %v, want %v", got, want)
	}
	if problems := s.Problems(); len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
}

func TestAbsentAddressKeepsItsFrontendsAndLosesItsHealthCheck(t *testing.T) {
	s, _ := resolved([]Service{balanced("web", 30080, 32000)}, "10.1.0.10", "10.2.0.10")
	absent := []netip.Addr{netip.MustParseAddr("10.2.0.10")}
	for _, c := range []struct {
		absent []netip.Addr
		want   []string
	}{
		{absent, []string{"10.1.0.10:32000 web 0"}},
		{nil, []string{"10.1.0.10:32000 web 0", "10.2.0.10:32000 web 0"}},
	} {
		s.SetAbsent(c.absent)
		if changed := s.Resolve(); len(changed) != 0 {
			t.Errorf("with %v absent, these frontends changed: %v", c.absent, changed)
		}
		if _, changed := s.Checks(); !changed {
			t.Errorf("with %v absent, no change is told", c.absent)
		}
		if s.SetAbsent(c.absent); len(s.dirty) > 0 {
			t.Errorf("told again that %v is absent, it computes %d Services anew", c.absent, len(s.dirty))
		}
		if got := checksOf(s); !slices.Equal(got, c.want) {
			t.Errorf("with %v absent: %v, want %v", c.absent, got, c.want)
		}
	}
}

func TestOnlyAChangeIsTold(t *testing.T) {
	s, _ := resolved([]Service{balanced("web", 30080, 32000, "10.244.1.2"), service("other", 30081)}, "10.1.0.10")
	expect := func(what string, want bool, u ...Service) {
		t.Helper()
		s.Update(Update{Services: u})
		s.Resolve()
		if _, changed := s.Checks(); changed != want {
			t.Errorf("%s: a change is told: %v", what, changed)
		}
	}
	expect("at first", true)
	expect("nothing", false)
	expect("the same", false, balanced("web", 30080, 32000, "10.244.1.2"))
	expect("another Service", false, service("other", 30081, "10.244.1.3:80"))
	expect("another address, as many", false, balanced("web", 30080, 32000, "10.244.1.3"))
	expect("one more", true, balanced("web", 30080, 32000, "10.244.1.2", "10.244.1.3"))
	expect("another port", true, balanced("web", 30080, 32001, "10.244.1.2", "10.244.1.3"))
	expect("it goes", true, gone("web"))
}

// Whatever the history, the checks are those of a state that never saw it.
func TestHealthChecksDoNotDependOnTheHistory(t *testing.T) {
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 3))
		addrs := [][]string{{"10.1.0.10"}, {"10.1.0.10", "10.2.0.10"}, {"10.2.0.10", "fd01::10"}}
		services := map[string]Service{}
		s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
		var now []netip.Addr
		for range 30 {
			switch dice.IntN(6) {
			case 0:
				now = nil
				for _, text := range addrs[dice.IntN(len(addrs))] {
					now = append(now, netip.MustParseAddr(text))
				}
				s.SetPlaces(at(now...))
			default:
				name := string(rune('a' + dice.IntN(4)))
				svc := balanced("web", 32000+uint16(dice.IntN(4)), 32000+uint16(dice.IntN(4)), []string{"10.244.1.2", "10.244.1.3"}[:dice.IntN(3)]...)
				svc.Created = svc.Created.Add(time.Duration(dice.IntN(3)) * time.Hour)
				if svc.HealthCheckNodePort == 32003 {
					svc.HealthCheckNodePort = 0
				}
				svc.ID.Namespace = name // Services of one name
				if services[name] = svc; dice.IntN(4) == 0 {
					delete(services, name)
					svc = Service{ID: svc.ID}
				}
				s.Update(Update{Services: []Service{svc}})
			}
			if dice.IntN(3) == 0 {
				s.Resolve()
			}
		}
		s.Resolve()
		fresh := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
		for _, svc := range services {
			fresh.Update(Update{Services: []Service{svc}})
		}
		fresh.SetPlaces(at(now...))
		fresh.Resolve()
		want, _ := fresh.Checks()
		got, _ := s.Checks()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: (-want +got):\n%s", seed, diff)
		}
		if diff := cmp.Diff(fresh.Problems(), s.Problems()); diff != "" {
			t.Fatalf("seed %d: problems (-want +got):\n%s", seed, diff)
		}
	}
}
