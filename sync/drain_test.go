package sync

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

const (
	stays  = "10.244.1.2:8080"
	leaves = "10.244.2.2:8080"
)

func busy(kernel *ipvsfake.Kernel, n uint32) {
	kernel.SetConnections(tcp("10.1.0.10", 30080), netip.MustParseAddrPort(leaves), ipvs.Connections{Active: n})
}

func TestEndpointThatIsGoneLeavesWhenItsConnectionsHaveEnded(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		busy(kernel, 0)
		g.after(6 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// The kernel counts connections that are being closed as inactive, and those of SCTP that are being opened.
func TestEndpointIsNotDeletedUnderAHandshake(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		kernel.SetConnections(tcp("10.1.0.10", 30080), netip.MustParseAddrPort(leaves), ipvs.Connections{Inactive: 1})
		g.deliver(web(stays))
		g.after(settle - time.Millisecond)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		g.after(2 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestEndpointWithoutAnyConnectionNeedNotSettle(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		k := &polledKernel{}
		g := start(t, kernel, nft, func(c *Config) { k.Handle, c.Kernel = c.Kernel, k })
		g.serve(web(stays, leaves))
		k.looks.Store(0)
		g.deliver(web(stays))
		g.after(pollPeriod - time.Millisecond)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		g.after(time.Millisecond)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if n := k.looks.Load(); n != 1 {
			t.Errorf("%d looks, want one", n)
		}
	})
}

// Whoever still gets new connections may have one that the look has not seen.
func TestOnlyAtWeightZeroARealServerIsUnused(t *testing.T) {
	addr, now := netip.MustParseAddrPort(leaves), time.Now()
	for weight, unused := range map[uint32]bool{0: true, 1: false} {
		present := map[netip.AddrPort]ipvs.RealServer{addr: {Weight: weight}}
		told := map[netip.AddrPort]ipvs.Connections{addr: {}}
		seen := departures{addr: {since: now, busy: now, looked: now}}.seen(now.Add(time.Second), frontend.TCP, present, told)
		if got := seen[addr].idle(); got != unused {
			t.Errorf("at weight %d it may go: %t", weight, got)
		}
	}
	if seen := (departures{addr: {since: now, busy: now}}).seen(now.Add(time.Second), frontend.TCP, nil, nil); seen[addr].idle() {
		t.Error("what the kernel does not have was seen unused")
	}
}

// A deletion may fail, and somebody else may give it its weight meanwhile.
func TestARealServerWithAConnectionIsNotUnusedAnyMore(t *testing.T) {
	addr, now := netip.MustParseAddrPort(leaves), time.Now()
	present := map[netip.AddrPort]ipvs.RealServer{addr: {}}
	d := departures{addr: {since: now, busy: now, looked: now}}
	for n, idle := range []bool{true, false} {
		now = now.Add(time.Second)
		d = d.seen(now, frontend.TCP, present, map[netip.AddrPort]ipvs.Connections{addr: {Inactive: uint32(n)}})
		if d[addr].idle() != idle {
			t.Errorf("with %d connections it may go: %t", n, !idle)
		}
	}
}

// A dump while others write may miss a real server and have another one twice.
func TestOfARealServerThatADumpMissesNothingIsKnown(t *testing.T) {
	addr, now := netip.MustParseAddrPort(leaves), time.Now()
	before := departures{addr: {since: now, busy: now, looked: now}}
	present := map[netip.AddrPort]ipvs.RealServer{addr: {}}
	if after := before.seen(now.Add(time.Minute), frontend.TCP, present, nil); after[addr] != before[addr] {
		t.Errorf("%+v, want %+v", after[addr], before[addr])
	}
}

// It served new connections up to that moment.
func TestAfterItsSuccessorCouldNotBeAddedARealServerSettlesFromWeightZeroOn(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) {
			once := ipvsfake.Fault{Verb: ipvs.AddReal, Real: netip.MustParseAddrPort(leaves), Err: syscall.ENOMEM}
			c.Kernel = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Once: []ipvsfake.Fault{once, once, once, once}})
		})
		g.serve(web(stays))
		g.deliver(web(leaves))
		g.after(7400 * time.Millisecond) // before the fifth try
		kernel.SetConnections(tcp("10.1.0.10", 30080), netip.MustParseAddrPort(stays), ipvs.Connections{Inactive: 1})
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		g.after(1700 * time.Millisecond)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*0 10.244.2.2:8080*1")
		g.after(3 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*1")
	})
}

// It has had no deadline while it was merely not chosen, and that may have been for hours.
func TestDrainTimeoutOfWhatWasNotChosenBeginsWhenItFails(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.DrainTimeout = time.Minute })
		local := func(endpoints ...string) Service {
			svc := web(endpoints...)
			svc.Ports[0].Policy = Local
			return svc
		}
		g.serve(web(stays+" local", leaves))
		busy(kernel, 1)
		for range 2 { // what recovers is without a deadline again
			g.deliver(local(stays+" local", leaves))
			g.after(time.Hour)
			g.deliver(local(stays+" local", leaves+" dead"))
			g.after(50 * time.Second)
			g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		}
		g.after(15 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestDrainTimeoutEndsTheWait(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.DrainTimeout = time.Minute })
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.after(50 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		g.after(15 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// patient is a Service that chose how long what leaves it may take.
func patient(timeout time.Duration, endpoints ...string) Service {
	svc := web(endpoints...)
	for i := range svc.Ports {
		svc.Ports[i].DrainTimeout = timeout
	}
	return svc
}

func TestServicesOwnDrainTimeoutIsInsteadOfTheNodes(t *testing.T) {
	for _, c := range []struct {
		name      string
		own, node time.Duration
	}{{"longer", 2 * time.Minute, time.Second}, {"shorter", 2 * time.Minute, time.Hour}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				g := start(t, kernel, nft, func(config *Config) { config.DrainTimeout = c.node })
				g.serve(patient(c.own, stays, leaves))
				busy(kernel, 1)
				g.deliver(patient(c.own, stays))
				g.after(c.own - 10*time.Second)
				g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
				g.after(15 * time.Second)
				g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
			})
		})
	}
}

func TestDrainTimeoutOfAServiceOutlivesIt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.DrainTimeout = time.Second })
		g.serve(patient(2*time.Minute, leaves))
		busy(kernel, 1)
		g.deliver(gone("web"))
		g.after(110 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*0")
		g.after(15 * time.Second)
		g.expect()
		// Whoever has the port next drains as he asks, and not as somebody before him did.
		g.serve(web(leaves))
		g.deliver(gone("web"))
		g.after(5 * time.Second)
		g.expect()
	})
}

func TestDrainTimeoutThatCameLaterOutlivesItsServiceToo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.DrainTimeout = time.Second })
		g.serve(web(leaves))
		before := g.writes()
		g.deliver(patient(2*time.Minute, leaves))
		if n := g.writes() - before; n > 0 {
			t.Errorf("%d writes for nothing that the kernel knows", n)
		}
		busy(kernel, 1)
		g.deliver(gone("web"))
		g.after(110 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*0")
		g.after(15 * time.Second)
		g.expect()
	})
}

func TestDrainTimeoutThatWasTakenBackDoesNotOutliveItsService(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.DrainTimeout = 30 * time.Second })
		g.serve(patient(time.Hour, leaves))
		g.deliver(web(leaves))
		busy(kernel, 1)
		g.deliver(gone("web"))
		g.after(25 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*0")
		g.after(10 * time.Second)
		g.expect()
	})
}

func TestDrainTimeoutThatChangesCountsFromTheBeginOfTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.DrainTimeout = time.Hour })
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.after(time.Minute)
		g.deliver(patient(30*time.Second, stays))
		g.after(2 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestEndpointThatComesBackDuringItsDrainIsRestored(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.deliver(web(stays, leaves))
		busy(kernel, 0)
		g.after(time.Hour)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
	})
}

func TestTerminatingEndpointThatServesHasNoDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		g.deliver(web(stays, leaves+" terminating"))
		g.after(time.Hour)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
	})
}

func TestTerminatingEndpointThatIsGoneLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		g.deliver(web(stays, leaves+" terminating"))
		g.after(time.Minute)
		g.deliver(web(stays))
		g.after(6 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestTerminatingEndpointsServeWhenNoOtherIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		g.deliver(web(stays+" dead", leaves+" terminating"))
		g.after(time.Hour)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*1")
	})
}

func TestTerminatingEndpointIsNeverAddedForItsOwnSake(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves+" terminating"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestDeletedServiceRefusesNewConnectionsAndKeepsOldOnes(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(leaves))
		busy(kernel, 2)
		g.deliver(gone("web"))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*0")
		busy(kernel, 0)
		g.after(6 * time.Second)
		g.expect()
	})
}

func TestUDPEndpointIsDeletedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		udp := func(endpoints ...string) Service {
			svc := web(endpoints...)
			svc.Ports[0].Protocol = frontend.UDP
			return svc
		}
		g := start(t, kernel, nft)
		g.serve(udp(stays, leaves))
		g.deliver(udp(stays))
		g.expect("udp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		g.deliver(gone("web"))
		g.expect()
	})
}

func TestSchedulerWithoutFallbackDeletesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		dh := func(endpoints ...string) Service {
			svc := web(endpoints...)
			svc.Ports[0].Scheduler = "dh"
			return svc
		}
		g := start(t, kernel, nft)
		g.serve(dh(stays, leaves))
		busy(kernel, 1)
		g.deliver(dh(stays))
		g.expect("tcp://10.1.0.10:30080 dh 10.244.1.2:8080*1")
	})
}

func TestHashingSchedulersFallBackByDefault(t *testing.T) {
	for _, name := range []string{"sh", "mh"} {
		bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
			svc := web(stays)
			svc.Ports[0].Scheduler = name
			g := start(t, kernel, nft)
			g.serve(svc)
			if flags := kernel.Table()[tcp("10.1.0.10", 30080)].Flags; flags != ipvs.Sched1 {
				t.Errorf("%s: flags %#x, want the fallback", name, flags)
			}
		})
	}
}

func TestDrainSurvivesARestartWithAFreshClock(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		minute := func(c *Config) { c.DrainTimeout = time.Minute }
		g := start(t, kernel, nft, minute)
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.after(50 * time.Second)
		g.stop()
		g = start(t, kernel, nft, minute)
		g.serve(web(stays))
		g.after(50 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		g.after(20 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// slowFilter takes its time to be read, as nft does with a long table.
type slowFilter struct{ Filter }

func (f slowFilter) Read(ctx context.Context) (filter.State, error) {
	time.Sleep(2 * time.Second)
	return f.Filter.Read(ctx)
}

func TestSlowAuditsDoNotHoldUpTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod, c.Filter = time.Second, slowFilter{c.Filter} })
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.after(10 * time.Second)
		busy(kernel, 0)
		g.after(10 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// blindKernel cannot read a virtual server.
type blindKernel struct{ ipvs.Handle }

func (blindKernel) Get(context.Context, frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	return ipvs.Entry{}, nil, syscall.ENOMEM
}

func (blindKernel) SameReals(context.Context, frontend.Key, map[netip.AddrPort]ipvs.RealServer, func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	return false, syscall.ENOMEM
}

func TestRealServerWhoseConnectionsCannotBeReadIsNotIdle(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.Kernel = blindKernel{c.Kernel} })
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
	})
}

func TestVirtualServerDeletedByAnotherDuringADrainIsMadeAnewAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		kernel.Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelVirtual, Key: tcp("10.1.0.10", 30080)}})
		g.after(2 * pollPeriod)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if err, drift := g.Status().Err, g.Counters().Drift; err != nil || drift != 1 {
			t.Errorf("a failure: %v; drift counted %d times, want once", err, drift)
		}
	})
}
