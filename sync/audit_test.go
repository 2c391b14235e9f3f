package sync

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// lossy makes every dump of the kernel miss everything.
func lossy(c *Config) { c.Kernel = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Lossy: 1}) }

func TestDumpThatMissesEntriesIsNotBelieved(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080", "10.244.1.3:8080"))
		g.stop()
		g = start(t, kernel, nft, lossy)
		writes := g.writes()
		g.serve(web("10.244.1.2:8080", "10.244.1.3:8080"))
		g.after(10 * time.Minute)
		if n := g.writes() - writes; n != 0 {
			t.Errorf("%d writes at the start and by audits, want none", n)
		}
		if n := g.Counters().Drift; n != 0 {
			t.Errorf("drift counted %d times, want 0", n)
		}
	})
}

func TestElementsThatAreNoFrontendsAreRemovedAndCounted(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		before := nft.Dump()
		err := nft.Foreign(t.Context(), func(tx *knftables.Transaction) {
			tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.9.9.9", "icmp", "1"}})
		})
		if err != nil {
			t.Fatal(err)
		}
		g.after(31 * time.Second)
		if after := nft.Dump(); after != before {
			t.Errorf("the table is\n%s\nwant\n%s", after, before)
		}
		if n := g.Counters().Drift; n != 1 {
			t.Errorf("drift counted %d times, want once", n)
		}
	})
}

func TestAuditReadsOurTableOnlyAfterSomebodyWroteToNftables(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var generation, reads, failing atomic.Int32
		generation.Store(1)
		g := start(t, kernel, nft, func(c *Config) {
			c.Filter = unreadableFilter{countingFilter{c.Filter, &reads}, &failing}
			c.Generation = func() (uint32, error) { return uint32(generation.Load()), nil }
		})
		g.serve(web("10.244.1.2:8080"))
		g.after(10 * time.Minute)
		if n := reads.Load(); n != 1 {
			t.Errorf("read %d times although nobody wrote, want once at the start", n)
		}
		if err := nft.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		generation.Store(2)
		failing.Store(3) // then the same generation has still to be read
		g.after(40 * time.Second)
		if n := reads.Load(); n != 2 || g.Status().Err != nil {
			t.Errorf("read %d times after three failures, error %v, want once more", n-1, g.Status().Err)
		}
		if !g.rules().Owned.Has(tcp("10.1.0.10", 30080)) {
			t.Error("the flushed table is not back")
		}
	})
}

func TestForeignVirtualServersAreThoseOfOthersOnOurNodePorts(t *testing.T) {
	const text = `
tcp://10.1.0.10:29999 rr
tcp://10.1.0.10:30000 rr
udp://10.1.0.10:32767 rr
tcp://10.1.0.10:32768 rr
tcp://10.1.0.10:31000 rr
tcp://10.9.0.10:31001 rr
`
	table, err := ipvs.ParseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	local := []netip.Addr{netip.MustParseAddr("10.1.0.10")}
	got := Foreign(table, local, func(key frontend.Key) bool { return key.Port == 31000 })
	want := []frontend.Key{tcp("10.1.0.10", 30000), frontend.NewKey(local[0], frontend.UDP, 32767)}
	if !slices.Equal(got, want) {
		t.Errorf("have %v, want %v", got, want)
	}
}

func TestWhatIsWantedOrOwnedIsNotForeign(t *testing.T) {
	bubble(t, func(t *testing.T, _ *ipvsfake.Kernel, nft *filtertest.Fake) {
		there, err := ipvs.ParseTable("tcp://10.1.0.10:30080 rr\ntcp://10.1.0.10:30081 rr\ntcp://10.1.0.10:30082 rr\n")
		if err != nil {
			t.Fatal(err)
		}
		kernel := ipvsfake.New(ipvsfake.WithTable(there))
		g := start(t, kernel, nft)
		g.serve(service("other", 30081))
		g.stop()
		g = start(t, kernel, nft)
		g.addresses.set("10.1.0.10")
		g.source.deliver(func(u *Update) { u.Services, u.Incomplete = []Service{web()}, true })
		g.after(time.Second) // the first audit, after which web is owned too
		want := []frontend.Key{tcp("10.1.0.10", 30082)}
		if got := g.Status().Foreign; !slices.Equal(got, want) {
			t.Errorf("foreign are %v, want %v", got, want)
		}
	})
}

// left is what a proxy before us left: a node port that nobody claims, one that a Service claims, and others that are
// nobody's business.
func left(t *testing.T, kernel *ipvsfake.Kernel) {
	t.Helper()
	table := ipvs.Table{}
	for key, weight := range map[frontend.Key]uint32{
		tcp("10.1.0.10", 31999): 1, tcp("10.1.0.10", 30080): 1, tcp("10.1.0.10", 443): 1, tcp("10.96.0.1", 31999): 1,
	} {
		table[key] = ipvs.Entry{
			VirtualServer: ipvs.VirtualServer{Scheduler: "rr"},
			Reals:         map[netip.AddrPort]ipvs.RealServer{netip.MustParseAddrPort("10.244.1.2:8080"): {Forwarding: ipvs.Masquerade, Weight: weight}},
		}
	}
	if result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, table)); len(result.Failed) > 0 {
		t.Fatal(result.Failed)
	}
}

func TestWhatAnotherProxyLeftDrainsAndGoesIfThatIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		left(t, kernel)
		key, addr := tcp("10.1.0.10", 31999), netip.MustParseAddrPort("10.244.1.2:8080")
		kernel.SetConnections(key, addr, ipvs.Connections{Active: 1})
		g := start(t, kernel, nft, func(c *Config) { c.Adopt = true })
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Minute)
		others := []string{"tcp://10.1.0.10:443 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1"}
		g.expect(append(others, "tcp://10.1.0.10:31999 rr 10.244.1.2:8080*0", "tcp://10.96.0.1:31999 rr 10.244.1.2:8080*1")...)
		if !g.rules().Owned.Has(key) {
			t.Error("whoever starts next does not know that it is ours")
		}
		if n := len(g.Status().Foreign); n != 0 {
			t.Errorf("%d foreign virtual servers", n)
		}
		kernel.SetConnections(key, addr, ipvs.Connections{})
		g.after(time.Minute)
		g.expect(append(others, "tcp://10.96.0.1:31999 rr 10.244.1.2:8080*1")...)
		if g.rules().Owned.Has(key) {
			t.Error("it is still marked as ours")
		}
	})
}

// kube-router serves all addresses of a node.
func TestWhatAnotherProxyLeftOnAnAddressThatIsNotServedGoesToo(t *testing.T) {
	bubble(t, func(t *testing.T, _ *ipvsfake.Kernel, nft *filtertest.Fake) {
		there, err := ipvs.ParseTable("tcp://10.9.0.1:31999 rr\n")
		if err != nil {
			t.Fatal(err)
		}
		some, err := nodeaddr.ParseSpec([]string{"10.1.0.0/16"})
		if err != nil {
			t.Fatal(err)
		}
		g := start(t, ipvsfake.New(ipvsfake.WithTable(there)), nft, func(c *Config) { c.Adopt, c.NodePortAddresses = true, some })
		g.addresses.set("10.1.0.10", "10.9.0.1")
		g.deliver(web("10.244.1.2:8080"))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// A ClusterIP's port may be any, also one of those that node ports have.
func TestAClusterIPOfKubeProxyIsNeitherForeignNorTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		left(t, kernel)
		g := start(t, kernel, nft, func(c *Config) { c.Adopt = true })
		g.addresses.set("10.1.0.10")
		g.addresses.add("kube-ipvs0", "10.96.0.1")
		g.deliver(web("10.244.1.2:8080"))
		g.after(time.Minute)
		if _, there := kernel.Table()[tcp("10.96.0.1", 31999)]; !there || len(g.Status().Foreign) > 0 {
			t.Errorf("it is there: %t; foreign are %v", there, g.Status().Foreign)
		}
		if _, there := kernel.Table()[tcp("10.1.0.10", 31999)]; there {
			t.Error("the node port that nobody claims is still there")
		}
	})
}

func TestWhatAnotherProxyLeftIsTakenOverOnceNftablesCanBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		left(t, kernel)
		key := tcp("10.1.0.10", 31999)
		nft.SetFault(filtertest.Refuse(key))
		g := start(t, kernel, nft, func(c *Config) { c.Adopt = true })
		g.serve(web("10.244.1.2:8080"))
		if _, there := kernel.Table()[key]; !there {
			t.Error("it went although it could not be marked as ours")
		}
		nft.SetFault(nil)
		g.after(time.Minute)
		if _, there := kernel.Table()[key]; there || g.rules().Owned.Has(key) {
			t.Errorf("it is there: %t, ours: %t; want it gone", there, g.rules().Owned.Has(key))
		}
		if result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, ipvs.Table{key: {VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}}})); len(result.Failed) > 0 {
			t.Fatal(result.Failed)
		}
		g.after(time.Minute)
		if _, there := kernel.Table()[key]; !there {
			t.Error("what came after the start was taken over too")
		}
	})
}

// Its Service may be in the part that nobody could read.
func TestWhatAnotherProxyLeftStaysWhileTheInputIsIncomplete(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		left(t, kernel)
		g := start(t, kernel, nft, func(c *Config) { c.Adopt = true })
		g.addresses.set("10.1.0.10")
		incomplete := func(is bool) {
			g.source.deliver(func(u *Update) { u.Incomplete = is })
			g.after(10 * time.Minute)
		}
		incomplete(true)
		if len(kernel.Table()) != 4 {
			t.Errorf("the kernel has\n%s", kernel)
		}
		incomplete(false)
		if _, there := kernel.Table()[tcp("10.1.0.10", 31999)]; there {
			t.Error("it is still there")
		}
	})
}
