package sync

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestServiceIsServedOnEachAddressAndMasqueraded(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "fd01::10")
		g.deliver(web("10.244.1.2:8080", "10.244.2.2:8080", "[fd44:1::2]:8080"))
		g.expect(
			"tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1",
			"tcp://[fd01::10]:30080 rr [fd44:1::2]:8080*1",
		)
		want := []frontend.Key{tcp("10.1.0.10", 30080), tcp("fd01::10", 30080)}
		if diff := cmp.Diff(want, g.rules().Owned.Keys(), cmp.Comparer(sameKey)); diff != "" {
			t.Errorf("owned (-want +got):\n%s", diff)
		}
		g.masquerades(all(want...))
	})
}

func sameKey(a, b frontend.Key) bool { return a == b }

func TestNothingIsWrittenBeforeEveryInputWasRead(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.deliver(web("10.244.1.2:8080")) // no node addresses yet
		g.after(time.Hour)
		if n := g.writes(); n != 0 {
			t.Errorf("%d writes without node addresses", n)
		}
		if g.Health(time.Now()).Ready {
			t.Error("ready without node addresses")
		}
		g.stop()
		without := start(t, kernel, nft)
		without.addresses.set("10.1.0.10") // no Services yet
		without.after(time.Hour)
		if n := without.writes(); n != 0 {
			t.Errorf("%d writes without Services", n)
		}
		g = start(t, kernel, nft)
		g.deliver(web("10.244.1.2:8080"))
		g.addresses.set("10.1.0.10")
		synctest.Wait()
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestServiceWithoutEndpointsKeepsAnEmptyVirtualServer(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web())
		g.expect("tcp://10.1.0.10:30080 rr")
	})
}

func TestLocalPolicyUsesLocalEndpointsAndKeepsTheClientAddress(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		svc := web("10.244.1.2:8080 local", "10.244.2.2:8080")
		svc.Ports[0].Policy = Local
		g.serve(svc)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		key := tcp("10.1.0.10", 30080)
		g.masquerades(map[frontend.Key]filter.Masquerade{key: filter.MasqueradePods})
		if rules := g.rules(); rules.Internal.Has(key) || !rules.Owned.Has(key) {
			t.Errorf("want owned and open to everybody, have %v", rules)
		}
		// One makes the table, and protects: it was not masqueraded for a moment either.
		if n := g.Counters().Transactions; n != 1 {
			t.Errorf("%d transactions of nftables, want one", n)
		}
		svc.Ports[0].Policy = Cluster
		g.deliver(svc)
		g.masquerades(all(key))
	})
}

func TestRestartWithNothingChangedWritesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		services := []Service{web("10.244.1.2:8080", "10.244.2.2:8080"), service("dns", 30053, "10.244.1.3:53")}
		services[1].Ports[0].Scheduler = "sh"
		g := start(t, kernel, nft)
		g.serve(services...)
		g.stop()
		before := g.writes()
		g = start(t, kernel, nft)
		g.serve(services...)
		g.after(5 * time.Minute)
		if n := g.writes() - before; n != 0 {
			t.Errorf("%d writes after a restart with nothing changed", n)
		}
		if c := g.Counters(); len(c.Done) != 0 || c.Transactions != 0 {
			t.Errorf("the counters claim operations: %+v", c)
		}
	})
}

func TestWhatVanishedDuringARestartIsDrainedAndDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"), service("old", 30081, "10.244.1.3:8080"))
		g.stop()
		kernel.SetConnections(tcp("10.1.0.10", 30081), netip.MustParseAddrPort("10.244.1.3:8080"), ipvs.Connections{Active: 1})
		g = start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.3:8080*0")
		kernel.SetConnections(tcp("10.1.0.10", 30081), netip.MustParseAddrPort("10.244.1.3:8080"), ipvs.Connections{})
		g.after(10 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if g.rules().Owned.Has(tcp("10.1.0.10", 30081)) {
			t.Error("a frontend that is not served any more is still owned")
		}
	})
}

func TestForeignVirtualServersAreNeverTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign, err := ipvs.ParseTable("tcp://10.1.0.10:443 wlc\n  10.9.0.1:443 masq weight 7\ntcp://10.1.0.10:31000 rr\n  10.9.0.2:80 masq weight 1\n")
		if err != nil {
			t.Fatal(err)
		}
		kernel, nft := ipvsfake.New(ipvsfake.WithTable(foreign)), filtertest.New()
		check := func(when string) {
			t.Helper()
			if got := kernel.Table().Only(foreign.Keys()); !got.Equal(foreign) {
				t.Errorf("%s: foreign virtual servers changed to\n%s", when, got)
			}
		}
		witnessed := func(c *Config) { c.Kernel = &witness{Handle: c.Kernel, saw: handsOff(t, foreign)} }
		g := start(t, kernel, nft, witnessed)
		g.serve(web("10.244.1.2:8080"))
		check("after the start")
		g.deliver(gone("web"))
		g.after(10 * time.Minute)
		check("after a Service went, and audits")
		g.stop()
		g = start(t, kernel, nft, witnessed)
		g.serve()
		g.after(10 * time.Minute)
		check("after a restart")
		want := []frontend.Key{tcp("10.1.0.10", 31000)}
		if diff := cmp.Diff(want, g.Status().Foreign, cmp.Comparer(sameKey)); diff != "" {
			t.Errorf("foreign node ports reported (-want +got):\n%s", diff)
		}
	})
}

func TestVirtualServerThatAServiceClaimsIsTakenOverInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, err := ipvs.ParseTable("tcp://10.1.0.10:30080 wlc\n  10.244.1.2:8080 masq weight 3\n  10.244.9.9:8080 masq weight 1\n")
		if err != nil {
			t.Fatal(err)
		}
		kernel := ipvsfake.New(ipvsfake.WithTable(there))
		g := start(t, kernel, filtertest.New())
		g.serve(web("10.244.1.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.9.9:8080*0")
		g.after(10 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestVirtualServerMadeByAnotherWriterMeanwhileIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve()
		other := kernel.Open()
		key := tcp("10.1.0.10", 30080)
		for _, err := range other.Do(t.Context(), []ipvs.Op{
			{Verb: ipvs.AddVirtual, Key: key, Virtual: ipvs.VirtualServer{Scheduler: "wlc"}},
			{Verb: ipvs.AddReal, Key: key, RealKey: netip.MustParseAddrPort("10.9.0.1:80"), Real: ipvs.RealServer{Weight: 5}},
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		g.deliver(web("10.244.1.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.9.0.1:80*0 10.244.1.2:8080*1")
	})
}

func TestAuditRepairsWhatAnotherWriterChanged(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080", "10.244.2.2:8080"), service("dns", 30053, "10.244.1.3:53"))
		other := kernel.Open()
		for _, err := range other.Do(t.Context(), []ipvs.Op{
			{Verb: ipvs.SetReal, Key: tcp("10.1.0.10", 30080), RealKey: netip.MustParseAddrPort("10.244.1.2:8080"), Real: ipvs.RealServer{Weight: 9}},
			{Verb: ipvs.DelVirtual, Key: tcp("10.1.0.10", 30053)},
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		g.after(31 * time.Second)
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.3:53*1", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
		if n := g.Counters().Drift; n != 2 {
			t.Errorf("drift counted %d times, want 2", n)
		}
	})
}

func TestFlushedRulesetIsRestoredAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		before := g.rules()
		if err := nft.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		writes := nft.Writes()
		g.foreign <- struct{}{}
		g.after(time.Second)
		if n := nft.Writes() - writes; n != 1 {
			t.Errorf("%d transactions, want one: clients are not masqueraded before the last", n)
		}
		if after := g.rules(); !after.Equal(before) {
			t.Errorf("after the flush %v, want %v", after, before)
		}
	})
}

func TestFrontendIsProtectedBeforeItIsServed(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		protections := 0
		nft.SetFault(func(transaction string) error {
			if filtertest.Mentions(transaction, tcp("10.1.0.10", 30080)) {
				protections++
				if len(kernel.Table()) > 0 {
					t.Error("the virtual server was there before its protection")
				}
			}
			return nil
		})
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if protections != 1 {
			t.Errorf("%d transactions protect it, want 1", protections)
		}
	})
}

func TestDuplicateNodePortBelongsToTheOlderAndMovesWhenItGoes(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		old, young := service("z-old", 30080, "10.244.1.2:8080"), service("a-young", 30080, "10.244.1.3:8080")
		young.Created = old.Created.Add(time.Hour)
		g := start(t, kernel, nft)
		g.serve(young, old)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		problems := g.Status().Problems
		if len(problems) != 1 || problems[0].Object != "Service default/a-young" || problems[0].Reason != Conflict || !problems[0].Skipped {
			t.Errorf("problems: %v, want a conflict of Service default/a-young", problems)
		}
		g.deliver(gone("z-old"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*0 10.244.1.3:8080*1")
		if problems := g.Status().Problems; len(problems) != 0 {
			t.Errorf("problems after the holder went: %v", problems)
		}
	})
}

func TestConflictNamesTheServiceThatHoldsThePortNow(t *testing.T) {
	state := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
	state.SetPlaces(at(netip.MustParseAddr("10.1.0.10")))
	state.Update(Update{Services: []Service{service("a", 30080), service("b", 30080), service("c", 30080)}})
	state.Resolve()
	state.Update(Update{Services: []Service{gone("a")}})
	state.Resolve()
	problems := state.Problems()
	if len(problems) != 1 || problems[0].Object != "Service default/c" || !strings.Contains(problems[0].Message, "belongs to Service default/b,") {
		t.Errorf("problems: %v, want one of default/c with default/b", problems)
	}
}

func TestWhatAnIncompleteInputDoesNotNameIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"), service("other", 30081, "10.244.1.3:8080"))
		g.stop()
		g = start(t, kernel, nft)
		g.addresses.set("10.1.0.10")
		g.source.deliver(func(u *Update) { u.Services, u.Incomplete = []Service{web("10.244.1.2:8080")}, true })
		g.after(time.Hour)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.3:8080*1")
		g.source.deliver(func(u *Update) { u.Incomplete = false })
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestWhatAnIncompleteInputNamesMayGo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.stop()
		g = start(t, kernel, nft)
		g.addresses.set("10.1.0.10")
		g.source.deliver(func(u *Update) { u.Services, u.Incomplete = []Service{service("new", 30081, "10.244.1.3:8080")}, true })
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.3:8080*1")
		g.deliver(web("10.244.1.2:8080")) // somebody wants it after all
		g.deliver(gone("web"), gone("new"))
		g.after(10 * time.Second)
		g.expect()
	})
}

func TestAddressThatComesIsServedAndOneThatGoesKeepsItsGrace(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		synctest.Wait()
		both := []string{"tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1"}
		g.expect(both...)
		g.addresses.set("10.1.0.10")
		g.after(59 * time.Second)
		g.expect(both...)
		writes := kernel.Writes()
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.after(5 * time.Minute)
		g.expect(both...)
		if kernel.Writes() != writes {
			t.Error("a flap within the grace wrote to IPVS")
		}
		g.addresses.set("10.1.0.10")
		g.after(70 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestChangeOfAServiceLooksAtNoAddress(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		before := g.addresses.reads
		g.deliver(web("10.244.1.2:8080", "10.244.1.3:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.1.3:8080*1")
		if n := g.addresses.reads - before; n != 0 {
			t.Errorf("the node's addresses were read %d times", n)
		}
	})
}

func TestSomebodysElementsInOurSetsDoNotMakeAVirtualServerOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign, err := ipvs.ParseTable("tcp://10.1.0.10:31000 rr\n  10.9.0.2:80 masq weight 1\n")
		if err != nil {
			t.Fatal(err)
		}
		kernel, nft := ipvsfake.New(ipvsfake.WithTable(foreign)), filtertest.New()
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		err = nft.Foreign(t.Context(), func(tx *knftables.Transaction) {
			tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.1.0.10", "tcp", "31000"}})
		})
		if err != nil {
			t.Fatal(err)
		}
		g.after(5 * time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:31000 rr 10.9.0.2:80*1")
		if g.rules().Owned.Has(tcp("10.1.0.10", 31000)) {
			t.Error("the element is still there")
		}
	})
}

func TestSessionAffinityIsPersistenceOfItsFamily(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		svc := web("10.244.1.2:8080", "[fd44:1::2]:8080")
		svc.Ports[0].Affinity = Affinity{Timeout: time.Hour, Prefix4: 24, Prefix6: 128}
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "fd01::10")
		g.deliver(svc)
		want := ipvs.VirtualServer{Scheduler: "rr", Flags: ipvs.Persistent, PersistenceTimeout: 3600, PersistencePrefix: 24}
		if got := kernel.Table()[tcp("10.1.0.10", 30080)].VirtualServer; got != want {
			t.Errorf("IPv4: %s, want %s", got, want)
		}
		want.PersistencePrefix = 0
		if got := kernel.Table()[tcp("fd01::10", 30080)].VirtualServer; got != want {
			t.Errorf("IPv6: %s, want %s", got, want)
		}
		svc.Ports[0].Affinity = Affinity{}
		g.deliver(svc)
		if got := kernel.Table()[tcp("10.1.0.10", 30080)].VirtualServer; got.Flags != 0 {
			t.Errorf("affinity taken back: %s", got)
		}
	})
}

func TestRestartInTheMiddleOfAFlapKeepsTheGraceOfTheAddress(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.stop()
		before := kernel.Writes()
		g = start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080")) // 10.2.0.10 is away
		g.after(50 * time.Second)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.after(5 * time.Minute)
		if n := kernel.Writes() - before; n != 0 {
			t.Errorf("%d writes for an address that came back in time", n)
		}
		g.stop()
		g = start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.after(2 * time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestAgentThatCannotReadItsInputAndServesNothingIsNotReady(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10")
		g.source.deliver(func(u *Update) { u.Incomplete = true })
		synctest.Wait()
		if h := g.Health(time.Now()); h.Ready || !h.Alive {
			t.Errorf("with nothing to go by: %+v", h)
		}
		g.deliver(web("10.244.1.2:8080"))
		if h := g.Health(time.Now()); !h.Ready {
			t.Errorf("with a Service that can be served: %+v", h)
		}
	})
}
