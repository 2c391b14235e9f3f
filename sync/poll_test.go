package sync

import (
	"context"
	"net/netip"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// polledKernel takes a while to tell connections, and counts what is asked of it.
type polledKernel struct {
	ipvs.Handle
	takes             time.Duration
	looks, gets, does atomic.Int64
	fails             atomic.Bool            // nothing can be read
	asked             atomic.Pointer[func()] // is called whatever is asked
	looked            stdsync.Map            // when each frontend was last looked at
}

func (k *polledKernel) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	if each == nil { // an audit
		return k.Handle.SameReals(ctx, key, reals, nil)
	}
	k.looks.Add(1)
	k.looked.Store(key, time.Now())
	time.Sleep(k.takes)
	if asked := k.asked.Load(); asked != nil {
		(*asked)()
	}
	if k.fails.Load() {
		return false, errUnreadable
	}
	return k.Handle.SameReals(ctx, key, reals, each)
}

func (k *polledKernel) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	k.gets.Add(1)
	if k.fails.Load() {
		return ipvs.Entry{}, nil, errUnreadable
	}
	return k.Handle.Get(ctx, key)
}

func (k *polledKernel) Do(ctx context.Context, ops []ipvs.Op) []error {
	k.does.Add(1)
	if asked := k.asked.Load(); asked != nil {
		time.Sleep(k.takes)
		(*asked)()
	}
	return k.Handle.Do(ctx, ops)
}

// departing runs a reconciler of so many Services whose one endpoint has just gone, with a connection to each.
func departing(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake, services int, takes time.Duration, configure ...func(*Config)) (*rig, *polledKernel) {
	t.Helper()
	k := &polledKernel{}
	g := start(t, kernel, nft, append(configure, func(c *Config) { k.Handle, c.Kernel = c.Kernel, k })...)
	all := numbered(services)
	g.serve(all...)
	for i := range all {
		kernel.SetConnections(tcp("10.1.0.10", uint16(30000+i)), netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{Active: 1})
		all[i] = service(all[i].ID.Name, uint16(30000+i))
	}
	k.takes = takes
	g.deliver(all...)
	return g, k
}

func TestAChangeWaitsForOneLookAtWhoLeaves(t *testing.T) {
	const services, takes = 200, time.Millisecond // less than pressedBudget
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, services, takes)
		g.after(time.Minute)
		var once atomic.Bool
		var delivered, served time.Time
		asked := func() {
			if once.CompareAndSwap(false, true) { // in the middle of a look at all of them
				delivered = time.Now()
				g.source.deliver(func(u *Update) { u.Services = append(u.Services, service("late", 30500, stays)) })
			}
		}
		k.asked.Store(&asked)
		for served.IsZero() {
			g.after(time.Millisecond)
			if _, there := kernel.Table()[tcp("10.1.0.10", 30500)]; there {
				served = time.Now()
			}
		}
		if took := served.Sub(delivered); took > 2*takes+time.Millisecond {
			t.Errorf("the change waited %v, and one look takes %v", took, takes)
		}
	})
}

func TestLookingAtWhoLeavesGoesOnHoweverMuchChanges(t *testing.T) {
	const services = 100
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, services, 10*time.Millisecond)
		g.after(10 * time.Second)
		k.looks.Store(0)
		// There is always another change: one comes with every look, and with every change.
		port := uint16(30500)
		change := func() {
			port++
			g.source.deliver(func(u *Update) { u.Services = append(u.Services, service("other", port, stays)) })
		}
		k.asked.Store(&change)
		change()
		g.after(10 * time.Second)
		if looks := k.looks.Load(); looks < services {
			t.Errorf("%d looks in ten seconds at %d who leave", looks, services)
		}
	})
}

func TestLookingAtWhoLeavesTakesATenthOfTheTime(t *testing.T) {
	const services, takes, long = 50, 50 * time.Millisecond, 4 * time.Minute
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, services, takes)
		g.after(long)
		spent, all := time.Duration(k.looks.Load())*takes, services*takes
		if most, least := long/pollShare+all, long/(pollShare+1)-all; spent > most || spent < least {
			t.Errorf("%s of %s were spent, want %s to %s", spent, long, least, most)
		}
	})
}

// While IPVS is silent each look takes as long as one waits for an answer.
func TestALookThatFailsIsTheLastForAWhileAndTheOthersComeAfterIt(t *testing.T) {
	const services = 3
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, services, time.Second)
		g.after(10 * time.Second)
		k.fails.Store(true)
		g.after(50 * time.Second) // a look at all of them may have been half done, and has its pause
		var looks []time.Time
		asked := func() { looks = append(looks, time.Now()) }
		k.asked.Store(&asked)
		k.gets.Store(0)
		g.after(2 * services * (pollShare + 1) * time.Second)
		k.asked.Store(nil)
		if n := k.gets.Load(); n > 0 {
			t.Errorf("a silent kernel was asked once more for each of %d looks", n)
		}
		if len(looks) < 2*services-1 {
			t.Errorf("%d looks, want %d", len(looks), 2*services)
		}
		for i := range looks[1:] {
			if pause := looks[i+1].Sub(looks[i]); pause <= pollShare*time.Second {
				t.Errorf("look %d came %s after the one before it", i+1, pause)
			}
		}
		if g.Status().Err == nil {
			t.Error("the failure is not reported")
		}
		for i := range uint16(services) {
			kernel.SetConnections(tcp("10.1.0.10", 30000+i), netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{})
		}
		k.fails.Store(false)
		g.after(2 * time.Minute)
		g.expect("tcp://10.1.0.10:30000 rr", "tcp://10.1.0.10:30001 rr", "tcp://10.1.0.10:30002 rr")
		if left := g.poll.left; left != nil {
			t.Errorf("nothing leaves, and %v are to be looked at", left)
		}
	})
}

func TestNobodyIsLeftToBeLookedAtOnceNothingLeaves(t *testing.T) {
	r := New(logr.Discard(), Config{})
	r.poll.left = []frontend.Key{tcp("10.1.0.10", 30080)}
	r.pollLeaving(t.Context(), time.Now(), &passReport{})
	if len(r.poll.left) != 0 {
		t.Errorf("%v are", r.poll.left)
	}
}

func TestLookingAtWhoLeavesWritesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, 3, 0)
		g.after(time.Second)
		k.looks.Store(0)
		k.gets.Store(0)
		k.does.Store(0)
		g.after(20 * time.Second)
		if looks, gets, does := k.looks.Load(), k.gets.Load(), k.does.Load(); looks < 3*19 || gets > 0 || does > 0 {
			t.Errorf("%d looks, %d of which had to ask again, and %d writes", looks, gets, does)
		}
	})
}

func TestWhoHasJustBegunToLeaveIsNotLookedAt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := departing(t, kernel, nft, 2, 0)
		g.after(pollPeriod - time.Millisecond)
		if looks := k.looks.Load(); looks > 0 {
			t.Errorf("%d looks, at once", looks)
		}
		g.after(10*time.Second + pollPeriod/2)
		g.deliver(service("late", 30500, leaves))
		g.deliver(gone("late"))
		late, first, left := tcp("10.1.0.10", 30500), tcp("10.1.0.10", 30000), time.Now()
		kernel.SetConnections(late, netip.MustParseAddrPort(leaves), ipvs.Connections{Active: 1})
		g.after(pollPeriod - time.Millisecond)
		if at, looked := k.looked.Load(late); looked {
			t.Errorf("it was looked at %s after it began to leave", at.(time.Time).Sub(left))
		}
		if at, looked := k.looked.Load(first); !looked || at.(time.Time).Before(left) {
			t.Errorf("the others were last looked at at %v, before %s: they wait for it", at, left)
		}
		g.after(pollPeriod)
		if _, looked := k.looked.Load(late); !looked {
			t.Error("it was not looked at in two periods")
		}
	})
}

func TestALookIsPlannedForWhoeverWasNotLookedAtForLongest(t *testing.T) {
	r, now := New(logr.Discard(), Config{}), time.Now()
	ago := func(d time.Duration) departure { return departure{looked: now.Add(-d)} }
	a, b := netip.MustParseAddrPort(stays), netip.MustParseAddrPort(leaves)
	r.leaving = map[frontend.Key]departures{
		tcp("10.1.0.10", 30001): {a: ago(pollPeriod / 4)},
		tcp("10.1.0.10", 30002): {a: ago(pollPeriod / 2), b: ago(pollPeriod / 4)},
		tcp("10.1.0.10", 30003): {a: ago(0)},
	}
	if keys, next := r.toLookAt(now); len(keys) != 0 || !next.Equal(now.Add(pollPeriod/2)) {
		t.Errorf("%v now, and the next in %s", keys, next.Sub(now))
	}
	if keys, _ := r.toLookAt(now.Add(3 * pollPeriod / 4)); len(keys) != 2 || keys[0].Port != 30001 || keys[1].Port != 30002 {
		t.Errorf("%v, want those of ports 30001 and 30002", keys)
	}
}
