package sync

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// slowTable is an nftables table that takes a while to tell what it has, and may refuse to.
type slowTable struct {
	Filter
	takes   atomic.Int64 // time.Duration
	refuses atomic.Bool
	reads   atomic.Int64
}

func (s *slowTable) Read(ctx context.Context) (filter.State, error) {
	s.reads.Add(1)
	state, err := s.Filter.Read(ctx) // then: what is written meanwhile is not in it
	time.Sleep(time.Duration(s.takes.Load()))
	if s.refuses.Load() {
		return filter.State{}, errUnreadable
	}
	return state, err
}

const slowly = 5 * time.Second

// slowlyRead is a rig that serves web, and whose table is slow from then on.
func slowlyRead(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) (*rig, *slowTable) {
	t.Helper()
	s := &slowTable{}
	g := start(t, kernel, nft, func(c *Config) { s.Filter, c.Filter = c.Filter, s })
	g.serve(web("10.244.1.2:8080"))
	s.reads.Store(0)
	s.takes.Store(int64(slowly))
	return g, s
}

func TestNoChangeWaitsForAReadOfOurTable(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, s := slowlyRead(t, kernel, nft)
		g.after(30*time.Second + time.Second)
		if n := s.reads.Load(); n != 1 {
			t.Fatalf("%d reads began with the audit, want one", n)
		}
		g.deliver(web("10.244.1.3:8080"))
		if real := kernel.Table()[tcp(at1, 30080)].Reals[netip.MustParseAddrPort("10.244.1.3:8080")]; real.Weight == 0 {
			t.Error("the change waits")
		}
		passes := g.Counters().Passes
		g.after(slowly)
		if n := g.Counters().Passes - passes; n > 5 { // looks at who leaves, once a second
			t.Errorf("%d passes for a table that is as it should be", n)
		}
		if n := s.reads.Load(); n != 1 || g.Status().Err != nil {
			t.Errorf("%d reads, %v", n, g.Status().Err)
		}
	})
}

func TestWhatSomebodyBrokeIsMendedThoughWeWriteWhileItIsRead(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, s := slowlyRead(t, kernel, nft)
		if err := nft.Foreign(t.Context(), addStray); err != nil {
			t.Fatal(err)
		}
		g.foreign <- struct{}{}
		g.after(rulesetPeriod)
		for i := range 25 { // a Service more in each second
			g.deliver(service(fmt.Sprintf("s%d", i), uint16(30100+i), "10.244.1.2:8080"))
			g.after(time.Second)
			switch n := g.Counters().Drift; {
			case i < 15 && n != 0:
				t.Fatalf("%d differences after %d s: each read was spoilt by a write", n, i)
			case i > 20 && (n != 1 || s.reads.Load() != mostSpoilt+1):
				t.Fatalf("%d differences and %d reads after %d s: want the last one waited for", n, s.reads.Load(), i)
			}
		}
		if n := len(g.rules().Owned); n != 26 {
			t.Errorf("%d frontends are ours, want 26", n)
		}
	})
}

func TestWhatSomebodyWritesWhileOurTableIsReadIsSeenToo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, s := slowlyRead(t, kernel, nft)
		g.after(31 * time.Second)
		if err := nft.Foreign(t.Context(), addStray); err != nil {
			t.Fatal(err)
		}
		g.foreign <- struct{}{}
		g.after(2 * slowly)
		if n := g.Counters().Drift; n != 1 || s.reads.Load() != 2 {
			t.Errorf("%d differences after %d reads, want one after 2", n, s.reads.Load())
		}
	})
}

func TestATableThatCannotBeReadIsTriedAgainSoonAndKeepsTheNodeFromBeingSynced(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, s := slowlyRead(t, kernel, nft)
		s.takes.Store(0)
		s.refuses.Store(true)
		g.after(30 * time.Second)
		synced := g.Status().Synced
		g.after(10 * time.Second)
		g.deliver(web("10.244.1.3:8080")) // goes well, and tells nothing of the table
		if st := g.Status(); st.Err == nil || st.FailingSince.IsZero() || st.Synced.After(synced) {
			t.Errorf("%v, failing since %s, synced at %s", st.Err, st.FailingSince, st.Synced)
		}
		if n := s.reads.Load(); n < 10 || n > 12 {
			t.Errorf("%d tries in 10 s, want one a second", n)
		}
		s.refuses.Store(false)
		g.after(auditRetry)
		if st := g.Status(); st.Err != nil || !st.FailingSince.IsZero() {
			t.Errorf("%v, failing since %s: want it synced", st.Err, st.FailingSince)
		}
	})
}

// One read in the loop is a moment of its own: nobody reads the same again with the next audit.
func TestAReadThatChangesWaitedForIsNotDoneAgain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var generation atomic.Uint32
		generation.Store(1)
		s := &slowTable{}
		g := start(t, kernel, nft, func(c *Config) {
			s.Filter, c.Filter = c.Filter, s
			c.Generation = func() (uint32, error) { return generation.Load(), nil }
		})
		g.serve(web("10.244.1.2:8080"))
		s.takes.Store(int64(slowly))
		generation.Add(1)                                            // what we wrote just now
		for i := 0; s.reads.Load() < mostSpoilt+1+1 && i < 60; i++ { // one at the start
			g.deliver(service(fmt.Sprintf("s%d", i), uint16(30100+i), "10.244.1.2:8080"))
			generation.Add(1)
			g.after(time.Second)
		}
		g.after(slowly)
		reads := s.reads.Load()
		if g.after(5 * time.Minute); s.reads.Load() != reads || reads != mostSpoilt+1+1 {
			t.Errorf("%d reads, and %d of what nobody had changed", reads, s.reads.Load()-reads)
		}
	})
}

// An nft that hangs takes a minute for each try.
func TestATableThatCannotBePutRightLeavesTimeForChanges(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var hanging atomic.Bool
		var tries []time.Time
		g := start(t, kernel, nft, func(c *Config) { c.Filter = hangingFilter{replaceFilter{c.Filter, &tries}, &hanging} })
		g.serve(web("10.244.1.2:8080"))
		tries = nil
		hanging.Store(true)
		if err := nft.Foreign(t.Context(), addStray); err != nil {
			t.Fatal(err)
		}
		g.foreign <- struct{}{}
		g.after(10 * time.Minute)
		for _, p := range pauses(tries) {
			if p < time.Minute+lastRetry {
				t.Errorf("the tries of a minute each are %s apart", pauses(tries))
				break
			}
		}
		hanging.Store(false)
		if g.after(time.Minute + lastRetry); g.Status().Err != nil || len(tries) < 5 {
			t.Errorf("%d tries, %v", len(tries), g.Status().Err)
		}
	})
}

// hangingFilter is one whose Replace takes as long as nft may, and fails.
type hangingFilter struct {
	replaceFilter
	hanging *atomic.Bool
}

func (f hangingFilter) Replace(ctx context.Context, rules filter.Rules) error {
	if !f.hanging.Load() {
		return f.replaceFilter.Replace(ctx, rules)
	}
	*f.at = append(*f.at, time.Now())
	time.Sleep(time.Minute)
	return context.DeadlineExceeded
}

func TestTheEndWaitsForAReadOfOurTable(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, _ := slowlyRead(t, kernel, nft)
		g.after(31 * time.Second)
		begin := time.Now()
		g.stop()
		synctest.Wait()
		if took := time.Since(begin); took != slowly-time.Second {
			t.Errorf("Run ended after %s: the read ends in %s", took, slowly-time.Second)
		}
	})
}

// addStray is an element of somebody else's in our table.
func addStray(tx *knftables.Transaction) {
	tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.9.9.9", "icmp", "1"}})
}
