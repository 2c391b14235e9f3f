package sync

import (
	"context"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// faulty makes operations of the reconciler fail, and keeps audits out of the test.
func faulty(faults ...ipvsfake.Fault) func(*Config) {
	return func(c *Config) {
		c.Kernel, c.SyncPeriod = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Once: faults}), 24*time.Hour
	}
}

func TestWhatStaysUnknownIsTriedAgainLater(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		lost := ipvsfake.Fault{Verb: ipvs.AddVirtual, Err: ipvs.ErrUnknown}
		g := start(t, kernel, nft, faulty(lost, lost, lost, lost))
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Minute)
		g.expect(onFirst)
	})
}

// mute is a kernel that does not say what it has.
type mute struct {
	ipvs.Handle
	on *atomic.Bool
}

func (m mute) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	if m.on.Load() {
		return ipvs.Entry{}, nil, errUnreadable
	}
	return m.Handle.Get(ctx, key)
}

func (m mute) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	if each != nil && m.on.Load() { // audits compare, and learn nothing more
		return false, errUnreadable
	}
	return m.Handle.SameReals(ctx, key, reals, each)
}

func TestFrontendThatCannotBeReadIsLeftAloneUntilItCan(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var silent atomic.Bool
		silent.Store(true)
		lost := ipvsfake.Fault{Verb: ipvs.AddReal, Err: ipvs.ErrUnknown, Done: true}
		g := start(t, kernel, nft, faulty(lost), func(c *Config) { c.Kernel = mute{c.Kernel, &silent} })
		g.serve(web("10.244.1.2:8080"))
		writes := kernel.Writes()
		g.deliver(web("10.244.1.3:8080"))
		g.after(time.Minute)
		if n := kernel.Writes() - writes; n != 0 {
			t.Errorf("%d operations on a virtual server of which nothing is known", n)
		}
		if g.Status().Err == nil {
			t.Error("the failure is not reported")
		}
		silent.Store(false)
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.3:8080*1")
		if err := g.Status().Err; err != nil {
			t.Errorf("still failing: %v", err)
		}
	})
}

func TestConnectionsThatCannotBeReadMayBeThere(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var silent atomic.Bool
		g := start(t, kernel, nft, func(c *Config) { c.Kernel = mute{c.Kernel, &silent} })
		g.serve(web(stays, leaves))
		busy(kernel, 1)
		g.deliver(web(stays))
		silent.Store(true)
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*0")
		if g.Status().Err == nil {
			t.Error("the failure is not reported")
		}
		g.after(4 * time.Minute) // the timeout ends the wait all the same
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestSchedulerThatTheKernelLacksIsAskedForAgainAfterAWhile(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, faulty(ipvsfake.Fault{Verb: ipvs.AddVirtual, Key: tcp("10.1.0.10", 30080), Err: syscall.ENOENT}))
		svc := web("10.244.1.2:8080")
		svc.Ports[0].Scheduler = "mh"
		g.serve(svc)
		g.expect(onFirst)
		g.after(refusalMemory - time.Second)
		g.expect(onFirst)
		g.after(2 * time.Second) // somebody has installed the module
		g.expect("tcp://10.1.0.10:30080 mh 10.244.1.2:8080*1")
		if problems := g.Status().Problems; len(problems) != 0 {
			t.Errorf("problems: %v", problems)
		}
	})
}

// countingFilter counts how often the table is read.
type countingFilter struct {
	Filter
	reads *atomic.Int32
}

func (f countingFilter) Read(ctx context.Context) (filter.State, error) {
	f.reads.Add(1)
	return f.Filter.Read(ctx)
}

func TestForeignWriterThatNeverRestsHoldsNothingUp(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var reads atomic.Int32
		g := start(t, kernel, nft, func(c *Config) { c.Filter, c.SyncPeriod = countingFilter{c.Filter, &reads}, 24*time.Hour })
		g.serve()
		g.after(time.Second)
		reads.Store(0)
		for range 1000 {
			select {
			case g.foreign <- struct{}{}:
			default:
			}
			g.after(10 * time.Millisecond)
		}
		if n := reads.Load(); n < 40 || n > 51 {
			t.Errorf("in ten seconds the table was read %d times, want five times a second", n)
		}
		g.foreign <- struct{}{}
		synctest.Wait()
		g.deliver(web("10.244.1.2:8080"))
		g.expect(onFirst)
	})
}

func TestWatchThatHasEndedLeavesTheAudits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _, _ := talkative(t)
		ended := make(chan struct{})
		close(ended)
		r.RulesetChanged, r.nextAudit = ended, time.Now().Add(time.Hour)
		r.awaitWork(t.Context())
		begin := time.Now()
		if r.awaitWork(t.Context()); time.Since(begin) != time.Hour {
			t.Errorf("it waited %s for the audit, want an hour", time.Since(begin))
		}
	})
}
