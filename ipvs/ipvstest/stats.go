package ipvstest

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Traffic makes connections through virtual servers. It reaches the first three real servers of each family (10.244.0.1
// to 10.244.0.3 and fd02::1 to fd02::3, port 8080) through virtual servers of 10.1.0.10 and fd01::10.
type Traffic interface {
	// Pass lets n connections begin, ask, be answered and end, one after the other. For UDP, where nothing begins or ends,
	// these are flows with a datagram each way. All are scheduled to real.
	Pass(t *testing.T, key frontend.Key, real netip.AddrPort, n int)
	// Hold begins a TCP connection, which is scheduled to real and stays until the test ends.
	Hold(t *testing.T, key frontend.Key, real netip.AddrPort)
}

// StatsRig is a reader of counters with a handle on the same table, which nobody else writes, and traffic through it.
type StatsRig struct {
	ipvs.Handle
	Reader ipvs.StatsReader
	Traffic
}

// StatsContract runs every case on a rig of its own, whose table is empty.
func StatsContract(t *testing.T, open func(t *testing.T) StatsRig) {
	t.Helper()
	for _, cases := range [][]counting{statsOfTheTable(), statsOfTraffic(), statsLifetime()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				rig := open(t)
				c.check(counter{subject{T: t, Handle: rig.Handle}, rig.Reader, rig.Traffic})
			})
		}
	}
}

// counting is one case; its name is what a reader promises.
type counting struct {
	name  string
	check func(counter)
}

// counter is the reader under test with the words that the cases are written in.
type counter struct {
	subject
	reader  ipvs.StatsReader
	traffic Traffic
}

func (c counter) virtuals() map[frontend.Key]ipvs.Counters {
	c.Helper()
	all, err := c.reader.Virtuals(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return all
}

func (c counter) reals(key frontend.Key) map[netip.AddrPort]ipvs.RealStats {
	c.Helper()
	reals, err := c.reader.Reals(c.Context(), key)
	if err != nil {
		c.Fatal(err)
	}
	return reals
}

func (c counter) use() map[frontend.Key]map[netip.AddrPort]ipvs.RealUse {
	c.Helper()
	all, err := c.reader.Use(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return all
}

// tells checks that all three reads have exactly this table, without any traffic. They may need a moment: what other
// tests left behind in their network namespaces goes away meanwhile, and dumps miss entries while it does.
func (c counter) tells(want ipvs.Table) {
	c.Helper()
	virtuals := map[frontend.Key]ipvs.Counters{}
	uses := map[frontend.Key]map[netip.AddrPort]ipvs.RealUse{}
	for key, e := range want {
		virtuals[key], uses[key] = ipvs.Counters{}, map[netip.AddrPort]ipvs.RealUse{}
		stats := map[netip.AddrPort]ipvs.RealStats{}
		for addr, real := range e.Reals {
			stats[addr] = ipvs.RealStats{RealServer: real}
			uses[key][addr] = ipvs.RealUse{Weight: real.Weight}
		}
		if got := c.reals(key); !maps.Equal(got, stats) {
			c.Errorf("Reals of %s (-want +got):\n%s", key, diffOf(stats, got))
		}
	}
	var counted map[frontend.Key]ipvs.Counters
	c.soon(func() bool {
		counted = c.virtuals()
		return maps.Equal(counted, virtuals)
	}, func() string { return "Virtuals (-want +got):\n" + diffOf(virtuals, counted) })
	var used map[frontend.Key]map[netip.AddrPort]ipvs.RealUse
	c.soon(func() bool {
		used = c.use()
		return maps.EqualFunc(used, uses, maps.Equal[map[netip.AddrPort]ipvs.RealUse])
	}, func() string { return "Use (-want +got):\n" + diffOf(uses, used) })
}

func diffOf(want, got any) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
}

// soon waits for what a kernel tells late: it brings counters up to date every two seconds.
func (c counter) soon(done func() bool, what func() string) {
	c.Helper()
	const limit = 15 * time.Second
	for deadline := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("after %s: %s", limit, what())
		}
	}
}

// counts waits until a virtual server and its real servers have counted so many connections, and checks that what else
// they counted is sensible and that the virtual server has nothing beyond its real servers but gone.
func (c counter) counts(key frontend.Key, want, gone uint64, reals map[netip.AddrPort]uint64) {
	c.Helper()
	var (
		virtual ipvs.Counters
		stats   map[netip.AddrPort]ipvs.RealStats
	)
	tally := func() string { return fmt.Sprintf("%s has counted %+v, its real servers %+v", key, virtual, stats) }
	c.soon(func() bool {
		virtual, stats = c.virtuals()[key], c.reals(key)
		same := virtual.Connections == want
		for addr, n := range reals {
			same = same && stats[addr].Counters.Connections == n
		}
		return same
	}, tally)
	sum := ipvs.Counters{Connections: gone}
	for addr, s := range stats {
		c.sensible(addr.String(), s.Counters)
		sum.Connections += s.Counters.Connections
		sum.InPackets += s.Counters.InPackets
	}
	c.sensible(key.String(), virtual)
	if sum.Connections != virtual.Connections || sum.InPackets > virtual.InPackets {
		c.Errorf("%s, and %d connections of others", tally(), gone)
	}
}

// sensible is at least a packet each way for each connection, and at least an IP header for each packet.
func (c counter) sensible(what string, n ipvs.Counters) {
	c.Helper()
	const header = 20
	if min(n.InPackets, n.OutPackets) < n.Connections || n.InBytes < header*n.InPackets || n.OutBytes < header*n.OutPackets {
		c.Errorf("%s has counted %+v", what, n)
	}
}
