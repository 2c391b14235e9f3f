//go:build kernel && linux

package ipvs_test

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	moby "github.com/moby/ipvs"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvstest"
)

func TestKernelKeepsTheContractOfCounters(t *testing.T) {
	ipvstest.StatsContract(t, func(t *testing.T) (rig ipvstest.StatsRig) {
		inFreshNamespace(t, func() {
			rig = ipvstest.StatsRig{Handle: open(t, ipvs.Options{}), Reader: openStats(t), Traffic: newTraffic(t)}
		})
		return rig
	})
}

func openStats(t testing.TB) ipvs.StatsReader {
	t.Helper()
	r, err := ipvs.OpenStats(ipvs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestCountersOfVirtualServersWithAFirewallMarkAreLeftOut(t *testing.T) {
	var h ipvs.Handle
	var r ipvs.StatsReader
	var m *moby.Handle
	inFreshNamespace(t, func() { h, r, m = open(t, ipvs.Options{}), openStats(t), openMoby(t) })
	mark := &moby.Service{FWMark: 7, AddressFamily: syscall.AF_INET, SchedName: "rr", Netmask: 0xffffffff}
	if err := m.NewService(mark); err != nil {
		t.Fatal(err)
	}
	want := services(1, 1, "10.1.0.10")
	program(t, h, want)
	awaitVirtuals(t, r, want)
	uses, err := r.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if key := want.Keys()[0]; len(uses) != 1 || len(uses[key]) != 1 {
		t.Errorf("uses %v, want one of %s", uses, key)
	}
}

// awaitVirtuals waits until r tells of exactly the virtual servers of a table: what other tests left behind in their
// namespaces may still go away, and dumps miss entries while it does.
func awaitVirtuals(t *testing.T, r ipvs.StatsReader, want ipvs.Table) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		virtuals, err := r.Virtuals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys := slices.SortedFunc(maps.Keys(virtuals), frontend.Key.Compare)
		if slices.Equal(keys, want.Keys()) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("virtual servers %v, want %v", keys, want.Keys())
		}
	}
}

func TestAReaderThatWasGivenUpReadsAgainInItsOwnNamespace(t *testing.T) {
	var h ipvs.Handle
	var r ipvs.StatsReader
	inFreshNamespace(t, func() { h, r = open(t, ipvs.Options{}), openStats(t) })
	want := services(3, 1, "10.1.0.10")
	program(t, h, want)
	for range 2 {
		awaitVirtuals(t, r, want)
		ipvs.GiveUpReading(r)
	}
}

// The kernel keeps the virtual servers of all network namespaces in one table, and a dump goes on by position in it: who
// writes in another namespace makes entries of this one be missing.
func TestReadsWhileAnotherNamespaceWritesHaveNothingWrongInThem(t *testing.T) {
	var h, other ipvs.Handle
	var r ipvs.StatsReader
	inFreshNamespace(t, func() { h, r = open(t, ipvs.Options{}), openStats(t) })
	inFreshNamespace(t, func() { other = open(t, ipvs.Options{}) })
	still, moving := services(1000, 2, "10.1.0.10"), services(300, 2, "10.2.0.10")
	program(t, h, still)
	awaitVirtuals(t, r, still)
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			other.Do(ctx, ipvs.Diff(nil, moving))
			other.Do(ctx, ipvs.Diff(moving, nil))
		}
	})
	missing := 0
	for range 20 {
		virtuals, err := r.Virtuals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key := range virtuals {
			if _, ours := still[key]; !ours {
				t.Errorf("%s is of another namespace", key)
			}
		}
		uses, err := r.Use(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key, use := range uses {
			for real := range use {
				if _, ours := still[key].Reals[real]; !ours {
					t.Errorf("%s %s is of another namespace", key, real)
				}
			}
		}
		missing += 2*len(still) - len(virtuals) - len(uses)
	}
	stop()
	writer.Wait()
	t.Logf("%d of 40,000 untouched virtual servers were missing in 20 reads of both kinds", missing)
	awaitVirtuals(t, r, still)
}

// Counters are sums over the processors that the estimator makes every two seconds; connections are not.
func TestCountersStandStillWhileEstimationIsOff(t *testing.T) {
	var h ipvs.Handle
	var r ipvs.StatsReader
	var f traffic
	inFreshNamespace(t, func() { h, r, f = open(t, ipvs.Options{}), openStats(t), newTraffic(t) })
	f.estimate(t, "0")
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30080)
	real := netip.MustParseAddrPort("10.244.0.1:8080")
	program(t, h, ipvs.Table{key: {
		VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{real: {Weight: 1}},
	}})
	f.Pass(t, key, real, 3)
	read := func() ipvs.RealStats {
		reals, err := r.Reals(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return reals[real]
	}
	// Longer than the kernel takes to bring counters up to date, so that they would show if they ever did.
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s := read(); s.Inactive != 3 || s.Counters != (ipvs.Counters{}) {
			t.Fatalf("%+v, want three connections that are not counted", s)
		}
	}
	f.estimate(t, "1")
	for end := time.Now().Add(15 * time.Second); read().Counters.Connections != 3; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v after estimation was turned on again, want all three connections", read())
		}
	}
}

// In /proc/net/ip_vs virtual servers are missing, however long nobody writes, when another namespace has some too: of
// these 1,000 there are 923. Without the file there are none.
func TestUseIsWholeBesideTheVirtualServersOfAnotherNamespaceAndWithoutProc(t *testing.T) {
	var h, other ipvs.Handle
	var r ipvs.StatsReader
	inFreshNamespace(t, func() { h, r = open(t, ipvs.Options{}), openStats(t) })
	inFreshNamespace(t, func() { other = open(t, ipvs.Options{}) })
	want := services(1000, 2, "10.1.0.10")
	program(t, h, want)
	program(t, other, services(100, 1, "10.2.0.10"))
	awaitVirtuals(t, r, want)
	for _, forget := range []bool{false, true} {
		if forget {
			if err := ipvs.ForgetProcOf(r); err != nil {
				t.Fatal(err)
			}
		}
		uses, err := r.Use(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key, e := range want {
			if len(uses[key]) != len(e.Reals) || len(uses) != len(want) {
				t.Fatalf("%s has %d real servers, and there are %d virtual servers, want 2 and 1000", key, len(uses[key]), len(uses))
			}
		}
	}
}
