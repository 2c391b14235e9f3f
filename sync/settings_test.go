package sync

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

func stateAt(places []nodeaddr.Place, services ...Service) *State {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
	s.Update(Update{Services: services})
	s.SetPlaces(places)
	s.Resolve()
	return s
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
