package sync

import (
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestWhatALookFindsOtherwiseIsPutRightAtOnce(t *testing.T) {
	key, real, other := tcp("10.1.0.10", 30080), netip.MustParseAddrPort(leaves), netip.MustParseAddrPort("10.244.3.2:8080")
	const leaving, staying = "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1"
	for _, c := range []struct {
		name string
		op   ipvs.Op
		want string
	}{
		{"the weight of who leaves", ipvs.Op{Verb: ipvs.SetReal, RealKey: real, Real: ipvs.RealServer{Weight: 7}}, leaving},
		{"the weight of who stays", ipvs.Op{Verb: ipvs.SetReal, RealKey: netip.MustParseAddrPort(stays), Real: ipvs.RealServer{Weight: 7}}, leaving},
		{"who stays is gone", ipvs.Op{Verb: ipvs.DelReal, RealKey: netip.MustParseAddrPort(stays)}, leaving},
		{"who leaves is gone", ipvs.Op{Verb: ipvs.DelReal, RealKey: real}, staying},
		{"another, which leaves too", ipvs.Op{Verb: ipvs.AddReal, RealKey: other, Real: ipvs.RealServer{Weight: 7}}, leaving + " 10.244.3.2:8080*0"},
		{"the virtual server is gone", ipvs.Op{Verb: ipvs.DelVirtual}, staying},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				g := start(t, kernel, nft)
				g.serve(web(stays, leaves))
				kernel.SetConnections(key, real, ipvs.Connections{Active: 1})
				kernel.SetConnections(key, other, ipvs.Connections{Active: 1})
				g.deliver(web(stays))
				g.after(3*time.Second + pollPeriod/2)
				c.op.Key = key
				if errs := kernel.Open().Do(t.Context(), []ipvs.Op{c.op}); errs[0] != nil {
					t.Fatal(errs)
				}
				g.after(pollPeriod)
				g.expect(c.want)
			})
		})
	}
}

// Without real servers a virtual server cannot be told from one that is gone.
func TestAVirtualServerThatIsRememberedWithoutRealServersIsLookedForItself(t *testing.T) {
	r := New(logr.Discard(), Config{Kernel: ipvsfake.New()})
	key := tcp("10.1.0.10", 30080)
	r.have.put(key, ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}})
	r.leaving[key] = departures{netip.MustParseAddrPort(leaves): {}}
	something, err := r.look(t.Context(), key, &passReport{})
	if _, remembered := r.have.table[key]; !something || err != nil || remembered {
		t.Errorf("something is to be done: %t, %v; it is remembered: %t", something, err, remembered)
	}
}

func TestALookTellsWhoMayGo(t *testing.T) {
	r, _ := filled(t, 1)
	r.DrainTimeout = time.Hour
	key, now := tcp("10.1.0.10", 1000), time.Now()
	wanted, there := netip.MustParseAddrPort("10.200.0.3:8080"), netip.MustParseAddrPort(leaves)
	present := r.have.table[key].Clone()
	present.Reals[there] = ipvs.RealServer{}
	busy, idle := departure{since: now, dead: now, busy: now, looked: now}, departure{since: now, dead: now, busy: now.Add(-settle), looked: now}
	for _, c := range []struct {
		name string
		addr netip.AddrPort
		departure
		want bool
	}{
		{"busy", there, busy, false},
		{"idle", there, idle, true},
		{"busy for too long", there, departure{since: now.Add(-time.Hour), dead: now.Add(-time.Hour), busy: now, looked: now}, true},
		{"its deadline has to begin", there, departure{since: now, busy: now, looked: now}, true},
		{"gone", netip.MustParseAddrPort("10.244.3.2:8080"), busy, true},
		{"wanted again", wanted, idle, false},
	} {
		r.leaving[key] = departures{c.addr: c.departure}
		if got := r.oneMayGo(now, key, present); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

func TestAnEndpointThatDiesWhileItLeavesIsNotWaitedFor(t *testing.T) {
	const here, far = "10.244.1.2:8080 zone+", "10.244.2.2:8080"
	for _, c := range []struct{ name, leaves, then string }{
		{"it is in no slice any more", far + " zone-", ""},
		{"it serves no more", far + " zone-", far + " zone- dead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				g := start(t, kernel, nft)
				datagrams := func(endpoints ...string) Service {
					svc := web(endpoints...)
					svc.Ports[0].Protocol = frontend.UDP
					return svc
				}
				key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30080)
				g.serve(datagrams("10.244.1.2:8080", far))
				kernel.SetConnections(key, netip.MustParseAddrPort(far), ipvs.Connections{Inactive: 1})
				g.deliver(datagrams(here, c.leaves)) // it lives, and is meant for others
				g.after(10 * time.Second)
				g.expect("udp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
				if c.then == "" {
					g.deliver(datagrams(here))
				} else {
					g.deliver(datagrams(here, c.then))
				}
				g.after(2 * pollPeriod)
				g.expect("udp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
			})
		})
	}
}
