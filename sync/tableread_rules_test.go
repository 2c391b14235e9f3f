package sync

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// The elements say nothing of the rules that look them up.
func TestRulesThatSomebodyDeletedAreBackWithTheNextRead(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		before := nft.Dump()
		if err := nft.Foreign(t.Context(), func(tx *knftables.Transaction) { tx.Flush(&knftables.Chain{Name: "postrouting"}) }); err != nil {
			t.Fatal(err)
		}
		if nft.Dump() == before {
			t.Fatal("nothing was deleted")
		}
		g.foreign <- struct{}{}
		g.after(time.Second)
		if after := nft.Dump(); after != before || g.Counters().Drift != 1 {
			t.Errorf("%d differences; the table is\n%s\nwant\n%s", g.Counters().Drift, after, before)
		}
	})
}

func TestATableIsReadOnceForEachGenerationAlsoIfItIsAsWritten(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var generation atomic.Uint32
		generation.Store(1)
		s := &slowTable{}
		g := start(t, kernel, nft, func(c *Config) {
			s.Filter, c.Filter, c.Generation = c.Filter, s, func() (uint32, error) { return generation.Load(), nil }
		})
		g.serve(web("10.244.1.2:8080"))
		for is := range uint32(3) { // others write to tables of theirs
			s.reads.Store(0)
			generation.Store(2 + is)
			if g.after(10 * time.Minute); s.reads.Load() != 1 {
				t.Errorf("%d reads of generation %d", s.reads.Load(), 2+is)
			}
		}
	})
}

func TestATableThatChangesWaitedForIsNotReadOnceMore(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		s := &slowTable{}
		g := start(t, kernel, nft, func(c *Config) {
			s.Filter, c.Filter, c.Generation = c.Filter, s, func() (uint32, error) { return uint32(1 + nft.Writes()), nil }
		})
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Minute)
		s.reads.Store(0)
		s.takes.Store(int64(slowly))
		g.foreign <- struct{}{}
		for i := 0; s.reads.Load() <= mostSpoilt && i < 60; i++ { // a Service more in each second
			g.deliver(service(fmt.Sprintf("s%d", i), uint16(30100+i), "10.244.1.2:8080"))
			g.after(time.Second)
		}
		g.after(slowly)
		if n := s.reads.Load(); n != mostSpoilt+1 {
			t.Fatalf("%d reads, want %d: nothing waited", n, mostSpoilt+1)
		}
		if g.after(10 * time.Minute); s.reads.Load() != mostSpoilt+1 {
			t.Errorf("%d reads more of what nobody wrote to", s.reads.Load()-mostSpoilt-1)
		}
	})
}

// Only reads in a row are counted: after one in peace the next change waits as little as the first.
func TestAReadInPeaceEndsTheRowOfThoseInVain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, s := slowlyRead(t, kernel, nft)
		for i := range 2 * mostSpoilt {
			g.foreign <- struct{}{}
			g.after(time.Second)
			g.deliver(service(fmt.Sprintf("s%d", i), uint16(30100+i), "10.244.1.2:8080")) // so the first read is in vain
			g.after(slowly)
			g.deliver(web(fmt.Sprintf("10.244.1.%d:8080", 3+i)))
			if real := kernel.Table()[tcp(at1, 30080)].Reals[netip.MustParseAddrPort(fmt.Sprintf("10.244.1.%d:8080", 3+i))]; real.Weight == 0 {
				t.Errorf("change %d waits", i)
			}
			g.after(2 * slowly)
		}
		if n := s.reads.Load(); n < 4*mostSpoilt {
			t.Errorf("%d reads", n)
		}
	})
}
