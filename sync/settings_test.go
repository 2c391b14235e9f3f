package sync

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
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

func stateAt(places []nodeaddr.Place, services ...Service) *State {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
	s.Update(Update{Services: services})
	s.SetPlaces(places)
	s.Resolve()
	return s
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

func TestWhatAPortChoosesIsInTheTable(t *testing.T) {
	ended := func(change func(*ServicePort)) ipvs.Entry {
		svc := web(stays)
		change(&svc.Ports[0])
		s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
		s.SetRefused([]string{"twos"})
		s.Update(Update{Services: []Service{svc}})
		s.SetPlaces(at(netip.MustParseAddr("10.1.0.10")))
		s.Resolve()
		f, _ := s.Want(tcp("10.1.0.10", 30080))
		return f.Entry
	}
	virtual := func(name string, flags ipvs.Flags) ipvs.VirtualServer {
		return ipvs.VirtualServer{Scheduler: name, Flags: flags}
	}
	const all = SHPort | SHNoFallback | MHPort | MHNoFallback
	for _, c := range []struct {
		name   string
		change func(*ServicePort)
		vs     ipvs.VirtualServer
		real   ipvs.RealServer
	}{
		{"nothing", func(*ServicePort) {}, virtual("rr", 0), ipvs.RealServer{Weight: 1}},
		{"thresholds", func(p *ServicePort) { p.Limits = Limits{Upper: 10, Lower: 8} }, virtual("rr", 0), ipvs.RealServer{Weight: 1, UpperThreshold: 10, LowerThreshold: 8}},
		{"sh", func(p *ServicePort) { p.Scheduler = "sh" }, virtual("sh", ipvs.Sched1), ipvs.RealServer{Weight: 1}},
		{"sh by port", func(p *ServicePort) { p.Scheduler, p.SchedulerFlags = "sh", SHPort }, virtual("sh", ipvs.Sched1|ipvs.Sched2), ipvs.RealServer{Weight: 1}},
		{"sh without fallback", func(p *ServicePort) { p.Scheduler, p.SchedulerFlags = "sh", SHNoFallback|MHPort }, virtual("sh", 0), ipvs.RealServer{Weight: 1}},
		{"mh by port", func(p *ServicePort) { p.Scheduler, p.SchedulerFlags = "mh", MHPort|SHNoFallback }, virtual("mh", ipvs.Sched1|ipvs.Sched2), ipvs.RealServer{Weight: 1}},
		{"mh without fallback, by port", func(p *ServicePort) { p.Scheduler, p.SchedulerFlags = "mh", MHPort|MHNoFallback }, virtual("mh", ipvs.Sched2), ipvs.RealServer{Weight: 1}},
		{"flags of others", func(p *ServicePort) { p.Scheduler, p.SchedulerFlags = "lc", all }, virtual("lc", 0), ipvs.RealServer{Weight: 1}},
		{"a scheduler that is refused takes its flags along", func(p *ServicePort) { p.Scheduler, p.SchedulerFlags = "twos", all }, virtual("rr", 0), ipvs.RealServer{Weight: 1}},
		{"a weight", func(p *ServicePort) { p.Scheduler, p.Endpoints[0].Weight = "wrr", 7 }, virtual("wrr", 0), ipvs.RealServer{Weight: 7}},
		{"a weight with steps for slow start", func(p *ServicePort) {
			p.Scheduler, p.SlowStart, p.Endpoints[0].Weight = "wrr", time.Minute, MaxSlowStartWeight
		}, virtual("wrr", 0), ipvs.RealServer{Weight: 65530}},
		{"no steps where nothing rises", func(p *ServicePort) { p.Scheduler, p.SlowStart, p.Endpoints[0].Weight = "mh", time.Minute, 7 }, virtual("mh", ipvs.Sched1), ipvs.RealServer{Weight: 7}},
		{"none where the scheduler that rises is refused", func(p *ServicePort) { p.Scheduler, p.SlowStart = "twos", time.Minute }, virtual("rr", 0), ipvs.RealServer{Weight: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ended(c.change)
			if got.VirtualServer != c.vs || got.Reals[netip.MustParseAddrPort(stays)] != c.real {
				t.Errorf("have %s %v, want %s %v", got.VirtualServer, got.Reals, c.vs, c.real)
			}
			for addr, real := range got.Reals {
				if err := real.Validate(tcp("10.1.0.10", 30080), addr); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSchedulersThatRise(t *testing.T) {
	for name, want := range map[string]bool{
		"wrr": true, "wlc": true, "sed": true, "nq": true,
		"rr": false, "lc": false, "lblc": false, "lblcr": false, "dh": false, "sh": false, "mh": false, "fo": false, "ovf": false, "twos": false,
	} {
		p := ServicePort{SlowStart: time.Minute}
		if got := p.slowStart(name) == time.Minute; got != want || (p.steps(name) == rampSteps) != want {
			t.Errorf("%s rises: %v", name, got)
		}
	}
}

// What the scheduler in force makes nothing of, its author is told.
func TestChoicesWithoutEffectAreProblems(t *testing.T) {
	const mendWeights, mendStart, mendFlags = "choose one that counts weights, for example wrr or wlc", "choose wrr, wlc, sed or nq", "they are for sh and mh"
	for _, c := range []struct {
		name, scheduler string
		change          func(*ServicePort)
		want            []string
	}{
		{"weights of rr", "rr", func(p *ServicePort) { p.Endpoints[0].Weight = 2 }, []string{"weights above 1 have no effect with scheduler rr: " + mendWeights}},
		{"of lc", "lc", func(p *ServicePort) { p.Endpoints[0].Weight = 2 }, []string{"weights above 1 have no effect with scheduler lc: " + mendWeights}},
		{"of dh", "dh", func(p *ServicePort) { p.Endpoints[0].Weight = 2 }, []string{"weights above 1 have no effect with scheduler dh: " + mendWeights}},
		{"of wrr", "wrr", func(p *ServicePort) { p.Endpoints[0].Weight = 2 }, nil},
		{"of sh", "sh", func(p *ServicePort) { p.Endpoints[0].Weight = 2 }, nil},
		{"of rr, where all are 1", "rr", func(p *ServicePort) { p.Endpoints[0].Weight = 1 }, nil},
		{"maintenance under rr", "rr", func(p *ServicePort) { p.Endpoints[0].Maintenance = true }, nil},
		{"slow start of mh", "mh", func(p *ServicePort) { p.SlowStart = time.Minute }, []string{"slow start has no effect with scheduler mh: " + mendStart}},
		{"slow start of wlc", "wlc", func(p *ServicePort) { p.SlowStart = time.Minute }, nil},
		{"flags of sh for mh", "mh", func(p *ServicePort) { p.SchedulerFlags = SHPort }, []string{"scheduler flags sh-port have no effect with scheduler mh: " + mendFlags}},
		{"flags of mh for sh", "sh", func(p *ServicePort) { p.SchedulerFlags = MHNoFallback }, []string{"scheduler flags mh-no-fallback have no effect with scheduler sh: " + mendFlags}},
		{"flags of both", "sh", func(p *ServicePort) { p.SchedulerFlags = SHPort | MHPort }, nil},
		{"the same for mh", "mh", func(p *ServicePort) { p.SchedulerFlags = SHPort | MHPort }, nil},
		{"no fallback of sh", "sh", func(p *ServicePort) { p.SchedulerFlags = SHNoFallback }, nil},
		{"no fallback of mh", "mh", func(p *ServicePort) { p.SchedulerFlags = MHNoFallback }, nil},
		{"flags for neither", "wrr", func(p *ServicePort) { p.SchedulerFlags = MHPort }, []string{"scheduler flags mh-port have no effect with scheduler wrr: " + mendFlags}},
		{"no flags", "wrr", func(*ServicePort) {}, nil},
		{
			"all of it where the scheduler is refused", "twos",
			func(p *ServicePort) { p.SchedulerFlags, p.SlowStart, p.Endpoints[0].Weight = MHPort, time.Minute, 2 },
			[]string{
				`node port 30080/tcp is served with scheduler rr: this node's kernel has no scheduler "twos" (module ip_vs_twos)`,
				"scheduler flags mh-port have no effect with scheduler rr: " + mendFlags,
				"slow start has no effect with scheduler rr: " + mendStart,
				"weights above 1 have no effect with scheduler rr: " + mendWeights,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := web(stays)
			svc.Ports[0].Scheduler = c.scheduler
			c.change(&svc.Ports[0])
			s := stateAt(twoNetworks(), svc)
			s.SetRefused([]string{"twos"})
			s.Resolve()
			var got []string
			for _, p := range s.Problems() {
				got = append(got, p.Message)
				if p.Skipped || p.Object != "Service default/web" || p.Reason != Unsupported && p.Reason != KernelRefused {
					t.Errorf("problem %+v", p)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSettingOfARefusedSchedulerShowsTheOneInForce(t *testing.T) {
	settings := []Setting{
		{Name: "scheduler", Written: " twos", InForce: "twos", Scheduler: "twos"},
		{Name: "slow-start", Written: "30s", InForce: "30s"},
	}
	web, other := web(stays), service("other", 30081, stays)
	web.Settings, web.Ports[0].Scheduler = slices.Clone(settings), "twos"
	other.Settings = []Setting{{Name: "scheduler", Written: "mh", InForce: "mh", Scheduler: "mh"}}
	s := stateAt(twoNetworks(), web, other, service("without", 30082))
	want := []SettingsView{{Service: other.ID, Settings: other.Settings}, {Service: web.ID, Settings: settings}}
	if diff := cmp.Diff(want, s.ViewSettings()); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	s.SetRefused([]string{"twos"})
	refused := slices.Clone(settings)
	refused[0].InForce, refused[0].Why = "rr", `this node's kernel has no scheduler "twos"`
	want[1].Settings = refused
	if diff := cmp.Diff(want, s.ViewSettings()); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	s.SetRefused(nil)
	want[1].Settings = settings
	if diff := cmp.Diff(want, s.ViewSettings()); diff != "" {
		t.Errorf("taken after all (-want +got):\n%s", diff)
	}
}

// What the scheduler in force makes nothing of is not in force, whatever could be read.
func TestSettingsThatHaveNoEffectAreNotInForce(t *testing.T) {
	weights, flags := Setting{InForce: "*=2", Aspect: OfWeights}, Setting{InForce: "sh-fallback,sh-port", Aspect: OfFlags}
	slow, single := Setting{InForce: "30s", Aspect: OfSlowStart}, Setting{InForce: "true", Aspect: OfOnePacket}
	weigh := func(p *ServicePort) { p.Endpoints[0].Weight = 2 }
	hash := func(p *ServicePort) { p.SchedulerFlags = SHPort | MHNoFallback }
	syslog := func(p *ServicePort) { p.OnePacket, p.Policy, p.Protocol = true, Local, frontend.UDP }
	for _, c := range []struct {
		name, scheduler string
		setting         Setting
		change          func(*ServicePort)
		inForce, why    string
	}{
		{"weights of wrr", "wrr", weights, weigh, "*=2", ""},
		{"weights of rr", "rr", weights, weigh, "", "weights above 1 have no effect with scheduler rr: choose one that counts weights, for example wrr or wlc"},
		{"a maintenance beside weights of rr", "rr", weights, func(p *ServicePort) {
			weigh(p)
			p.Endpoints = append(p.Endpoints, Endpoint{Maintenance: true})
		}, "*=2", "weights above 1 have no effect with scheduler rr: choose one that counts weights, for example wrr or wlc"},
		{"weight 1 of rr", "rr", weights, func(*ServicePort) {}, "*=2", ""},
		{"flags of sh", "sh", flags, hash, "sh-fallback,sh-port", ""},
		{"flags of mh beside those of sh", "mh", flags, hash, "mh-no-fallback", ""},
		{"flags of neither", "wrr", flags, hash, "", "scheduler wrr has no flags: they are for sh and mh"},
		{"flags that are on anyway, of neither", "wrr", flags, func(*ServicePort) {}, "", "scheduler wrr has no flags: they are for sh and mh"},
		{"slow start of wlc", "wlc", slow, func(p *ServicePort) { p.SlowStart = time.Minute }, "30s", ""},
		{"slow start of rr", "rr", slow, func(p *ServicePort) { p.SlowStart = time.Minute }, "", "slow start has no effect with scheduler rr: choose wrr, wlc, sed or nq"},
		{"slow start of one that is refused", "twos", slow, func(p *ServicePort) { p.SlowStart = time.Minute }, "", "slow start has no effect with scheduler rr: choose wrr, wlc, sed or nq"},
		{"one-packet", "wrr", single, syslog, "true", ""},
		{"one-packet of mh", "mh", single, syslog, "", "one-packet has no effect with scheduler mh: choose rr or wrr"},
		{"one-packet of all endpoints", "rr", single, func(p *ServicePort) { syslog(p); p.Policy = Cluster }, "", "one-packet has no effect without externalTrafficPolicy: Local, since datagrams that are masqueraded get lost"},
		{"one-packet with affinity", "rr", single, func(p *ServicePort) { syslog(p); p.Affinity.Timeout = time.Hour }, "", "one-packet has no effect with sessionAffinity: ClientIP"},
		{"one-packet of TCP", "rr", single, func(p *ServicePort) { syslog(p); p.Protocol = frontend.TCP }, "", "it has no effect without a UDP port"},
		{"no one-packet of TCP", "rr", Setting{InForce: "false", Aspect: OfOnePacket}, func(*ServicePort) {}, "false", ""},
		{"what could not be read", "rr", Setting{Why: "bad", Aspect: OfFlags}, hash, "", "bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := web(stays)
			svc.Settings, svc.Ports[0].Scheduler = []Setting{c.setting}, c.scheduler
			c.change(&svc.Ports[0])
			s := stateAt(twoNetworks(), svc)
			s.SetRefused([]string{"twos"})
			s.Resolve()
			got := s.ViewSettings()[0].Settings[0]
			if got.InForce != c.inForce || got.Why != c.why {
				t.Errorf("in force is %q because of %q, want %q because of %q", got.InForce, got.Why, c.inForce, c.why)
			}
		})
	}
}

func TestSchedulerFlagsSayWhatIsInForce(t *testing.T) {
	for flags, want := range map[SchedulerFlags]string{
		0: "sh-fallback,mh-fallback", SHPort: "sh-fallback,sh-port", SHNoFallback: "sh-no-fallback", MHPort: "mh-fallback,mh-port",
		SHNoFallback | SHPort: "sh-no-fallback,sh-port", SHPort | MHNoFallback: "sh-fallback,sh-port,mh-no-fallback",
	} {
		if got := flags.String(); got != want {
			t.Errorf("%d is %q, want %q", flags, got, want)
		}
	}
}

// maintained is the Service with one of its endpoints in maintenance.
func maintained(svc Service, at int) Service {
	svc.Ports[0].Endpoints[at].Maintenance = true
	return svc
}

func TestEndpointInMaintenanceKeepsWhatItHas(t *testing.T) {
	for _, protocol := range []frontend.Protocol{frontend.TCP, frontend.UDP} {
		bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
			of := func(svc Service) Service {
				svc.Ports[0].Protocol, svc.Ports[0].Scheduler = protocol, "wrr"
				svc.Ports[0].Endpoints[1].Weight = 3
				return svc
			}
			front := protocol.String() + "://10.1.0.10:30080 wrr "
			g := start(t, kernel, nft)
			g.serve(of(web(stays, leaves)))
			g.expect(front + "10.244.1.2:8080*1 10.244.2.2:8080*3")
			g.deliver(of(maintained(web(stays, leaves), 1)))
			g.after(time.Hour) // without a connection, and beyond any deadline
			g.expect(front + "10.244.1.2:8080*1 10.244.2.2:8080*0")
			g.deliver(of(web(stays, leaves)))
			g.expect(front + "10.244.1.2:8080*1 10.244.2.2:8080*3")
			g.deliver(maintained(of(maintained(web(stays, leaves), 0)), 1))
			g.after(time.Minute)
			g.expect(front + "10.244.1.2:8080*0 10.244.2.2:8080*0")
			if why := g.state.View()[0].Frontends[0].Why; why != "every endpoint that could be used (2) has weight 0" {
				t.Errorf("plan says %q", why)
			}
		})
	}
}

func TestEndpointInMaintenanceIsNotAdded(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(maintained(web(stays, leaves), 1))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		g.deliver(web(stays, leaves))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
	})
}

// Maintenance that ends with its pod is a departure like any other.
func TestEndpointThatGoesDuringItsMaintenanceIsDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		g.deliver(maintained(web(stays, leaves), 1))
		g.after(time.Hour)
		g.deliver(web(stays))
		g.after(10 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
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

func TestNodesAddRealServersInAnOrderOfTheirOwn(t *testing.T) {
	orders := map[string]bool{}
	for seed := range uint64(8) {
		bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
			var added []string
			g := start(t, kernel, nft, func(c *Config) {
				c.Seed, c.Kernel = seed, &witness{Handle: c.Kernel, saw: func(op ipvs.Op) {
					if op.Verb == ipvs.AddReal {
						added = append(added, op.RealKey.String())
					}
				}}
			})
			g.serve(web("10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80", "10.244.1.4:80"))
			if len(added) != 4 {
				t.Errorf("added %v", added)
			}
			orders[strings.Join(added, " ")] = true
		})
	}
	if len(orders) < 4 {
		t.Errorf("8 nodes have %d orders", len(orders))
	}
}
