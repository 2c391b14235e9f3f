package sync

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

const rowPause = 20 * time.Millisecond

func paused(c *Config) { c.MinSyncPeriod = rowPause }

// one is the virtual server of a Service with one endpoint.
func one(port int) string { return fmt.Sprintf("tcp://10.1.0.10:%d rr 10.244.1.2:8080*1", port) }

func TestChangesInARowAreTakenInTogetherAndTheFirstAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, paused)
		g.serve(web(stays))
		g.after(time.Second)
		before := g.Counters().Passes
		g.deliver(service("s0", 30000, stays))
		g.expect(one(30000), one(30080)) // no time has gone by
		for i := 1; i <= 19; i++ {
			g.after(time.Millisecond)
			g.deliver(service(fmt.Sprintf("s%d", i), uint16(30000+i), stays))
		}
		g.expect(one(30000), one(30080))
		g.after(time.Millisecond)
		if n := len(kernel.Table()); n != 21 {
			t.Errorf("%d virtual servers %v after the first change, want 21", n, rowPause)
		}
		if n := g.Counters().Passes - before; n != 2 {
			t.Errorf("%d passes for 20 changes, want 2", n)
		}
		g.after(rowPause)
		g.deliver(service("late", 30100, stays))
		if n := len(kernel.Table()); n != 22 {
			t.Error("a change after a rest is not taken in at once")
		}
	})
}

func TestWhatIsNoChangeOfServicesDoesNotWaitForARow(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.MinSyncPeriod = 10 * time.Second })
		g.serve(web(stays))
		g.deliver(service("waits", 30081, stays))
		g.expect(one(30080))
		asked := false
		if err := g.Ask(t.Context(), func(*State) { asked = true }); err != nil || !asked {
			t.Errorf("a question was not answered: %v", err)
		}
		g.addresses.set("10.1.0.10", "10.1.0.11")
		g.after(0)
		g.expect(one(30080), "tcp://10.1.0.11:30080 rr 10.244.1.2:8080*1")
		g.after(10 * time.Second)
		if n := len(kernel.Table()); n != 4 {
			t.Errorf("%d virtual servers in the end, want 4", n)
		}
	})
}

// Looks at who leaves are due long before the change that waits.
func TestWhatIsDueIsDoneWhileAChangeWaitsAndNothingSpins(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.MinSyncPeriod = 10 * time.Second })
		g.serve(web(stays, leaves))
		g.after(10 * time.Second)
		g.deliver(web(stays))
		before := g.Counters().Passes
		g.deliver(service("waits", 30081, stays))
		g.after(9 * time.Second)
		g.expect(one(30080)) // who had no connection is gone
		if n := g.Counters().Passes - before; n > 15 {
			t.Errorf("%d passes in nine seconds", n)
		}
		g.after(time.Second)
		g.expect(one(30080), one(30081))
	})
}

// A look at many who leave makes way for a change that may come in, not for one that waits.
func TestLooksGoOnWhileAChangeWaits(t *testing.T) {
	const services, takes = 40, 100 * time.Millisecond
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, services, takes, func(c *Config) { c.MinSyncPeriod = 10 * time.Second })
		g.after(10 * time.Second) // the changes of the endpoints waited too
		g.source.deliver(func(u *Update) { u.Services = append(u.Services, service("waits", 30500, stays)) })
		k.looks.Store(0)
		g.after(9 * time.Second)
		if looks := k.looks.Load(); looks < services/2 {
			t.Errorf("%d looks at %d who leave", looks, services)
		}
	})
}

// departingFor keeps a connection to whoever leaves, so that looks at them are due again and again.
func departingFor(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake, pause time.Duration) *rig {
	t.Helper()
	g, _ := departing(t, kernel, nft, 2, 0, func(c *Config) { c.MinSyncPeriod, c.HealthChecks = pause, nil })
	g.after(pause)
	return g
}

func TestALookThatIsDueWithTheEndOfAPauseDoesNotEatTheNoticeOfAChange(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		const pause = 9500 * time.Millisecond
		g := departingFor(t, kernel, nft, pause)
		g.after(10 * time.Second)
		g.deliver(service("first", 30500, stays))
		g.deliver(service("waits", 30501, stays))
		g.after(pause)
		if _, there := kernel.Table()[tcp("10.1.0.10", 30501)]; !there {
			t.Error("it waits on")
		}
	})
}

func TestOnlyChangesBeginAPause(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := departingFor(t, kernel, nft, 5*time.Second)
		g.after(20500 * time.Millisecond) // looks are passes too, and an audit comes later
		g.deliver(service("late", 30500, stays))
		if _, there := kernel.Table()[tcp("10.1.0.10", 30500)]; !there {
			t.Error("it waits for looks")
		}
	})
}

func TestAChangeAloneIsOnePass(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, paused, func(c *Config) { c.HealthChecks = nil })
		g.serve(web(stays))
		g.after(time.Second)
		before := g.Counters().Passes
		g.deliver(service("one", 30500, stays))
		g.after(5 * time.Second)
		if n := g.Counters().Passes - before; n != 1 {
			t.Errorf("%d passes", n)
		}
	})
}

func TestLooksMakeWayForAnAddressWhileAChangeWaits(t *testing.T) {
	const services, takes = 40, 100 * time.Millisecond
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, services, takes, func(c *Config) { c.MinSyncPeriod = time.Minute })
		g.after(time.Minute)
		var looks atomic.Int64
		var came atomic.Pointer[time.Time]
		asked := func() {
			if looks.Add(1) == 5 {
				now := time.Now()
				came.Store(&now)
				g.addresses.set("10.1.0.10", "10.1.0.11")
			}
		}
		k.asked.Store(&asked)
		served := func() bool { _, there := kernel.Table()[tcp("10.1.0.11", 30000)]; return there }
		for deadline := time.Now().Add(time.Minute); !served() && time.Now().Before(deadline); {
			g.after(10 * time.Millisecond)
		}
		if came.Load() == nil || time.Since(*came.Load()) > 10*takes {
			t.Errorf("%d looks, and the address is not served soon after the fifth", looks.Load())
		}
	})
}
