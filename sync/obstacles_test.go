package sync

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
)

// at1 is the address of the tests here.
const at1 = "10.1.0.10"

// node is a state on addresses, with a policy for ports on which programs listen.
func node(policy PortConflict, addrs ...string) *State {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, PortConflict: policy, NodePortRange: nodePorts})
	var list []netip.Addr
	for _, text := range addrs {
		list = append(list, netip.MustParseAddr(text))
	}
	s.SetPlaces(at(list...))
	return s
}

// take lets Services in and returns what is served then, as SERVICE PORT, on every address once.
func (s *State) take(services ...Service) []string {
	s.Update(Update{Services: services})
	return s.servedPorts()
}

func (s *State) servedPorts() []string {
	s.Resolve()
	var lines []string
	for _, key := range s.Keys() {
		f, _ := s.Want(key)
		lines = append(lines, f.Service.Name+" "+key.String())
	}
	return lines
}

// texts are the problems there are now, with their Reason, and a "!" where something is not served by it.
func (s *State) texts() []string {
	var texts []string
	for _, p := range s.Problems() {
		mark := ""
		if p.Skipped {
			mark = "!"
		}
		texts = append(texts, p.String()+" ["+string(p.Reason)+mark+"]")
	}
	return texts
}

func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// extra is a Service with node port 30443 and the extra port 443 besides.
func extra(name string) Service { return withExtra(service(name, 30443, "10.244.1.2:8080"), 443) }

// withExtra opens one more port for the first one of a Service.
func withExtra(svc Service, number uint16) Service {
	p := svc.Ports[0]
	p.NodePort, p.Extra = number, true
	svc.Ports = append(slices.Clone(svc.Ports), p)
	return svc
}

// onlyExtra is a Service without a node port.
func onlyExtra(name string, number uint16) Service {
	svc := withExtra(service(name, 1, "10.244.1.2:8080"), number)
	svc.Ports = svc.Ports[1:]
	return svc
}

// listens is a program on a TCP port of an address, or of "" for all.
func listens(addr string, port uint16, process string) Listener {
	l := host.Listener{Addr: netip.IPv6Unspecified(), Port: port, Protocol: frontend.TCP}
	if addr != "" {
		l.Addr = netip.MustParseAddr(addr)
	}
	return Listener{Listener: l, Process: process}
}

func TestWarnServesANodePortOnWhichAProgramListens(t *testing.T) {
	s := node(PortConflictWarn, at1, "10.2.0.10")
	s.SetListeners([]Listener{listens(at1, 30080, "nginx (process 7)")})
	same(t, "served", []string{"web tcp://10.1.0.10:30080", "web tcp://10.2.0.10:30080"}, s.take(web("10.244.1.2:8080")))
	same(t, "problems", []string{
		"Service default/web: node port 30080/tcp on 10.1.0.10: nginx (process 7) listens there, and gets nothing from outside while the port is served: " +
			"stop it, or give one of the two another port [port-in-use]",
	}, s.texts())
	s.SetListeners(nil)
	s.Resolve()
	same(t, "problems once it has ended", nil, s.texts())
}

func TestSkipLeavesANodePortToTheProgramUntilItEnds(t *testing.T) {
	s := node(PortConflictSkip, at1, "10.2.0.10")
	s.SetListeners([]Listener{listens(at1, 30080, "")})
	same(t, "served", []string{"web tcp://10.2.0.10:30080"}, s.take(web("10.244.1.2:8080")))
	same(t, "problems", []string{
		"Service default/web: node port 30080/tcp is not served on 10.1.0.10: a program listens there (--port-conflict=skip); it is once that ends [port-in-use!]",
	}, s.texts())
	s.SetListeners(nil)
	same(t, "served once it has ended", []string{"web tcp://10.1.0.10:30080", "web tcp://10.2.0.10:30080"}, s.servedPorts())
	same(t, "problems once it has ended", nil, s.texts())
}

func TestAProgramTakesNoPortAwayThatIsServed(t *testing.T) {
	served := []string{"web tcp://10.1.0.10:443", "web tcp://10.1.0.10:30443"}
	programs := []Listener{listens("", 30443, "late (process 8)"), listens("", 443, "late (process 8)")}
	t.Run("because it was served before", func(t *testing.T) {
		s := node(PortConflictSkip, at1)
		same(t, "served", served, s.take(extra("web")))
		s.SetListeners(programs)
		same(t, "served beside the programs", served, s.servedPorts())
		if n := len(s.texts()); n != 2 || strings.Contains(strings.Join(s.texts(), ""), "!]") {
			t.Errorf("problems are %q, want one for each port, served", s.texts())
		}
		same(t, "served after another change", served, s.take(extra("web")))
	})
	t.Run("because an agent before served it", func(t *testing.T) {
		s := node(PortConflictSkip, at1)
		s.SetKept(map[frontend.Key]struct{}{tcp(at1, 443): {}, tcp(at1, 30443): {}})
		s.SetListeners(programs)
		same(t, "served", served, s.take(extra("web")))
	})
	t.Run("but it may have the port once that was given up", func(t *testing.T) {
		s := node(PortConflictSkip, at1)
		s.take(extra("web"))
		s.take(gone("web"))
		s.SetListeners(programs)
		same(t, "served", nil, s.take(extra("web")))
	})
}

func TestAListenerConcernsItsOwnAddressProtocolAndPort(t *testing.T) {
	six, udp := listens("::", 30080, ""), listens(at1, 30080, "")
	six.V6Only, udp.Protocol = true, frontend.UDP
	for name, l := range map[string]Listener{
		"another address": listens("10.9.0.9", 30080, ""), "another port": listens("", 30081, ""),
		"IPv6 alone": six, "another protocol": udp,
	} {
		t.Run(name, func(t *testing.T) {
			s := node(PortConflictSkip, at1)
			s.SetListeners([]Listener{l})
			same(t, "served", []string{"web tcp://10.1.0.10:30080"}, s.take(web("10.244.1.2:8080")))
			same(t, "problems", nil, s.texts())
		})
	}
}

// The port of a health check is found out by listening: a program there is told as what it is.
func TestProgramsAreLookedForOnPortsThatAreToBeServedAlone(t *testing.T) {
	s := node(PortConflictWarn, at1)
	s.take(withExtra(balanced("lb", 30080, 32000), 443), service("twin", 32001), balanced("lb-2", 30081, 32001))
	for port, want := range map[uint16]bool{30080: true, 443: true, 32000: false, 32001: true, 30082: false} {
		if got := s.claimsPort(frontend.TCP, port); got != want {
			t.Errorf("port %d is claimed: %t, want %t", port, got, want)
		}
		if s.claimsPort(frontend.UDP, port) {
			t.Errorf("port %d is claimed for UDP", port)
		}
	}
}

func TestAnExtraPortIsNeverServedOverWhatIsThere(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*State)
		others []Service
		served []string
		why    string
	}{
		{
			"a program, whatever the policy for node ports",
			func(s *State) { s.SetListeners([]Listener{listens("", 443, "nginx (process 7)")}) }, nil,
			[]string{"web tcp://10.1.0.10:30443"},
			"Service default/web: extra port 443/tcp is not opened on 10.1.0.10: nginx (process 7) listens there; it is once that ends [port-in-use!]",
		},
		{
			"the node port of a younger Service", nil,
			[]Service{younger(service("young", 443, "10.244.1.3:8080"))},
			[]string{"young tcp://10.1.0.10:443", "web tcp://10.1.0.10:30443"},
			"Service default/web: extra port 443/tcp on 10.1.0.10 belongs to Service default/young, which has it as a node port: give one of the two another extra port [conflict!]",
		},
		{
			"the health check of a younger Service", nil,
			[]Service{younger(balanced("young", 30081, 443))},
			[]string{"young tcp://10.1.0.10:30081", "web tcp://10.1.0.10:30443"},
			"Service default/web: extra port 443/tcp on 10.1.0.10 belongs to Service default/young, which has it as a health check: give one of the two another extra port [conflict!]",
		},
		{
			"the extra port of an older Service", nil,
			[]Service{older(onlyExtra("old", 443))},
			[]string{"old tcp://10.1.0.10:443", "web tcp://10.1.0.10:30443"},
			"Service default/web: extra port 443/tcp on 10.1.0.10 belongs to Service default/old, which is older: give one of the two another extra port [conflict!]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, late := range []bool{false, true} { // in whatever order they come
				s := node(PortConflictWarn, at1)
				if c.before != nil {
					c.before(s)
				}
				first, second := c.others, []Service{extra("web")}
				if late {
					first, second = second, first
				}
				s.take(first...)
				got := s.take(second...)
				same(t, "served", c.served, got)
				if !slices.Contains(s.texts(), c.why) {
					t.Errorf("problems are\n%s\nwant\n%s", strings.Join(s.texts(), "\n"), c.why)
				}
			}
		})
	}
}

func younger(svc Service) Service {
	svc.Created = svc.Created.Add(time.Hour)
	return svc
}

func older(svc Service) Service {
	svc.Created = svc.Created.Add(-time.Hour)
	return svc
}

func TestAnExtraPortIsTakenOverWhenItsHolderLeaves(t *testing.T) {
	s := node(PortConflictWarn, at1)
	s.take(service("holder", 443, "10.244.1.3:8080"), extra("web"), younger(onlyExtra("next", 443)))
	want := []string{"web tcp://10.1.0.10:443", "web tcp://10.1.0.10:30443"}
	same(t, "served once the holder has left", want, s.take(gone("holder")))
	same(t, "problems", []string{
		"Service default/next: extra port 443/tcp on 10.1.0.10 belongs to Service default/web, which is older: give one of the two another extra port [conflict!]",
	}, s.texts())
	same(t, "served once the next has left", []string{"next tcp://10.1.0.10:443"}, s.take(gone("web")))
	same(t, "problems", nil, s.texts())
}

func TestForeignVirtualServersKeepExtraPortsAndNoNodePorts(t *testing.T) {
	s := node(PortConflictWarn, at1)
	s.Update(Update{Services: []Service{extra("web")}})
	s.Claim()
	s.SetForeign([]frontend.Key{tcp(at1, 443), tcp(at1, 30443), tcp("10.9.9.9", 443)})
	same(t, "served", []string{"web tcp://10.1.0.10:30443"}, s.servedPorts())
	same(t, "problems", []string{
		"Service default/web: extra port 443/tcp is not opened on 10.1.0.10: a virtual server that is not ours is there already, which --adopt takes over; it is once that ends [port-in-use!]",
	}, s.texts())
	s.SetForeign(nil)
	same(t, "served once it is gone", []string{"web tcp://10.1.0.10:443", "web tcp://10.1.0.10:30443"}, s.servedPorts())
	s.AddForeign(tcp(at1, 443))
	same(t, "served once it is known to be there", []string{"web tcp://10.1.0.10:30443"}, s.servedPorts())
	same(t, "served once the API server says whose it is", []string{"node tcp://10.1.0.10:443", "web tcp://10.1.0.10:30443"}, s.take(service("node", 443)))
}

func TestOnlyServicesOfAPortAreLookedAtWhenAListenerComesOrGoes(t *testing.T) {
	s := node(PortConflictWarn, at1)
	s.take(extra("web"), younger(service("rival", 443)), service("other", 30081))
	for _, programs := range [][]Listener{
		{listens("", 443, "a")}, {listens("", 443, "b")}, {listens("10.9.9.9", 443, "b"), listens("", 22, "sshd")}, nil,
	} {
		s.SetListeners(programs)
		got := slices.SortedFunc(maps.Keys(s.dirty), ServiceID.Compare)
		if len(got) != 2 || got[0].Name != "rival" || got[1].Name != "web" {
			t.Errorf("%v: looked at are %v, want rival and web", programs, got)
		}
		s.Resolve()
		s.SetListeners(programs)
		if len(s.dirty) != 0 {
			t.Errorf("%v again: looked at are %v, want none", programs, s.dirty)
		}
	}
}

func TestANodePortOutsideOfTheRangeIsServedAndReported(t *testing.T) {
	s := node(PortConflictWarn, at1)
	same(t, "served", []string{"asked tcp://10.1.0.10:80", "low tcp://10.1.0.10:443"}, s.take(service("low", 443), onlyExtra("asked", 80)))
	same(t, "problems", []string{
		"Service default/low: node port 443/tcp is outside of the API server's range 30000-32767 (--service-node-port-range): " +
			"it is served all the same, but nobody keeps it from being used twice [out-of-range]",
	}, s.texts())
}

// Whatever came in whatever order, the same is served and told as if all of it had been known from the beginning; what was
// served before counts as such there.
func TestObstaclesDoNotDependOnTheHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := rapid.SampledFrom([]PortConflict{PortConflictWarn, PortConflictSkip}).Draw(t, "policy")
		addrs := []string{at1, "fd01::10"}
		s := node(policy, addrs...)
		services := map[ServiceID]Service{}
		var programs []Listener
		var foreign []frontend.Key
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			before := map[frontend.Key]struct{}{}
			for _, key := range s.Keys() {
				before[key] = struct{}{}
			}
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				programs = rapid.SliceOfN(rapid.Custom(drawListener), 0, 3).Draw(t, "programs")
				s.SetListeners(programs)
			case 1:
				foreign = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) frontend.Key {
					return tcp(rapid.SampledFrom(addrs).Draw(t, "address"), rapid.SampledFrom(contested()).Draw(t, "port"))
				}), 0, 2).Draw(t, "foreign")
			default:
				svc := drawClaimant(t)
				services[svc.ID] = svc
				if svc.Empty() {
					delete(services, svc.ID)
				}
				s.Update(Update{Services: []Service{svc}})
			}
			s.Claim()
			s.SetForeign(foreign) // as with an audit
			s.Resolve()

			fresh := node(policy, addrs...)
			fresh.SetKept(before)
			fresh.SetListeners(programs)
			fresh.Update(Update{Services: slices.Collect(maps.Values(services))})
			fresh.Claim()
			fresh.SetForeign(foreign)
			if diff := cmp.Diff(fresh.servedPorts(), s.servedPorts()); diff != "" {
				t.Fatalf("served (-fresh +now):\n%s", diff)
			}
			if diff := cmp.Diff(fresh.texts(), s.texts()); diff != "" {
				t.Fatalf("problems (-fresh +now):\n%s", diff)
			}
		}
	})
}

func contested() []uint16 { return []uint16{443, 30080, 30081} }

func drawListener(t *rapid.T) Listener {
	l := listens(rapid.SampledFrom([]string{"", "0.0.0.0", at1, "fd01::10"}).Draw(t, "address"),
		rapid.SampledFrom(contested()).Draw(t, "port"), rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "process"))
	l.V6Only = rapid.Bool().Draw(t, "v6only")
	return l
}

// drawClaimant is a version of one of three Services, which want the same ports for different purposes.
func drawClaimant(t *rapid.T) Service {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	if rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
		return gone(name)
	}
	ports := rapid.Permutation(contested()).Draw(t, "ports")
	svc := service(name, ports[0], "10.244.1.2:8080")
	svc.Ports[0].Extra = rapid.Bool().Draw(t, "extra")
	svc.Created = svc.Created.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "age")) * time.Hour)
	if rapid.Bool().Draw(t, "two") {
		svc = withExtra(svc, ports[1])
	}
	if rapid.Bool().Draw(t, "health check") {
		svc.HealthCheckNodePort = ports[2]
	}
	return svc
}
