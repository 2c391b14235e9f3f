package ipvs_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// universe is a small world for properties: so few names that two tables drawn from it nearly always collide.
type universe struct {
	addrs   []netip.Addr
	ports   []uint16
	reals4  []netip.AddrPort
	reals6  []netip.AddrPort
	weights []uint32
}

// ours is where the tables of the tests live.
func ours() universe {
	return universe{
		addrs: []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("fd01::10")},
		ports: []uint16{30080, 30443, 31000},
		reals4: []netip.AddrPort{
			netip.MustParseAddrPort("10.244.1.2:8080"), netip.MustParseAddrPort("10.244.1.3:8080"),
			netip.MustParseAddrPort("10.244.1.3:8081"), netip.MustParseAddrPort("10.244.2.7:8080"),
		},
		reals6: []netip.AddrPort{
			netip.MustParseAddrPort("[fd02::2]:8080"), netip.MustParseAddrPort("[fd02::3]:8080"),
			netip.MustParseAddrPort("[fd02::3]:8081"), netip.MustParseAddrPort("[fd02:0:1::7]:8080"),
		},
		weights: []uint32{0, 1, 5},
	}
}

// theirs shares nothing but real servers with ours: virtual servers that somebody else owns.
func theirs() universe {
	u := ours()
	u.addrs = []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.96.0.1")}
	u.ports = []uint16{53, 443}
	return u
}

func (u universe) keys() []frontend.Key {
	var keys []frontend.Key
	for _, addr := range u.addrs {
		for _, port := range u.ports {
			for _, p := range []frontend.Protocol{frontend.TCP, frontend.UDP} {
				keys = append(keys, frontend.NewKey(addr, p, port))
			}
		}
	}
	return keys
}

// table draws a valid table of the universe.
func (u universe) table() *rapid.Generator[ipvs.Table] {
	return rapid.Custom(func(t *rapid.T) ipvs.Table {
		table := ipvs.Table{}
		for _, key := range u.keys() {
			if rapid.Bool().Draw(t, "present") {
				table[key] = u.entry(key).Draw(t, "entry")
			}
		}
		return table
	})
}

func (u universe) entry(key frontend.Key) *rapid.Generator[ipvs.Entry] {
	return rapid.Custom(func(t *rapid.T) ipvs.Entry {
		e := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{}}
		e.Scheduler = rapid.SampledFrom([]string{"rr", "wrr", "sh"}).Draw(t, "scheduler")
		if rapid.IntRange(0, 3).Draw(t, "persistent") == 0 {
			e.Flags, e.PersistenceTimeout = ipvs.Persistent, 10800
		}
		reals := u.reals4
		if key.Addr.Is6() {
			reals = u.reals6
		}
		for _, addr := range reals {
			if rapid.Bool().Draw(t, "real") {
				e.Reals[addr] = ipvs.RealServer{Weight: rapid.SampledFrom(u.weights).Draw(t, "weight")}
			}
		}
		return e
	})
}

// anyTable draws a table of all that Validate lets through, from the whole space of names.
func anyTable() *rapid.Generator[ipvs.Table] {
	return rapid.Custom(func(t *rapid.T) ipvs.Table {
		table := ipvs.Table{}
		for range rapid.IntRange(0, 4).Draw(t, "virtual servers") {
			key := frontend.Key{
				Addr:     anyAddr().Draw(t, "address"),
				Protocol: rapid.SampledFrom(frontend.Protocols()).Draw(t, "protocol"),
				Port:     rapid.Uint16Min(1).Draw(t, "port"),
			}
			e := ipvs.Entry{VirtualServer: anyVirtual(key).Draw(t, "virtual"), Reals: map[netip.AddrPort]ipvs.RealServer{}}
			for range rapid.IntRange(0, 3).Draw(t, "real servers") {
				addr, r := anyReal(t, key)
				e.Reals[addr] = r
			}
			table[key] = e
		}
		return table
	}).Filter(func(table ipvs.Table) bool { return table.Validate() == nil })
}

func anyAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte(raw[:4]))
		}
		return netip.AddrFrom16([16]byte(raw))
	}).Filter(func(a netip.Addr) bool {
		return !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && !a.IsLinkLocalUnicast()
	})
}

func anyVirtual(key frontend.Key) *rapid.Generator[ipvs.VirtualServer] {
	return rapid.Custom(func(t *rapid.T) ipvs.VirtualServer {
		v := ipvs.VirtualServer{
			Scheduler: rapid.SampledFrom([]string{"rr", "wlc", "sh", "mh", "none", "my_own-1"}).Draw(t, "scheduler"),
			Flags:     ipvs.Flags(rapid.Uint32Range(0, 7).Draw(t, "scheduler flags")) * ipvs.Sched1,
		}
		if key.Protocol == frontend.UDP && rapid.Bool().Draw(t, "one-packet") {
			v.Flags |= ipvs.OnePacket
		}
		if rapid.Bool().Draw(t, "persistent") {
			v.Flags |= ipvs.Persistent
			v.PersistenceTimeout = rapid.Uint32Range(1, 31*86400).Draw(t, "timeout")
			v.PersistencePrefix = rapid.Uint8Range(0, uint8(key.Addr.BitLen()-1)).Draw(t, "prefix")
		}
		return v
	})
}

func anyReal(t *rapid.T, key frontend.Key) (netip.AddrPort, ipvs.RealServer) {
	sameFamily := func(a netip.Addr) bool { return a.Is4() == key.Addr.Is4() }
	r := ipvs.RealServer{
		Forwarding:     rapid.SampledFrom([]ipvs.Forwarding{ipvs.Masquerade, ipvs.Tunnel, ipvs.Route}).Draw(t, "forwarding"),
		Weight:         rapid.Uint32Range(0, ipvs.MaxWeight).Draw(t, "weight"),
		UpperThreshold: rapid.Uint32Range(0, 1<<31-1).Draw(t, "upper"),
	}
	r.LowerThreshold = rapid.Uint32Range(0, r.UpperThreshold).Draw(t, "lower")
	port := key.Port
	if r.Forwarding == ipvs.Masquerade {
		port = rapid.Uint16Min(1).Draw(t, "real port")
	}
	return netip.AddrPortFrom(anyAddr().Filter(sameFamily).Draw(t, "real address"), port), r
}

// mustParse reads a table that stands in a test.
func mustParse(t testing.TB, text string) ipvs.Table {
	t.Helper()
	table, err := ipvs.ParseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wantTable compares tables by their text, which is what a person reads.
func wantTable(t fataler, what string, got, want ipvs.Table) {
	t.Helper()
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
	if !got.Equal(want) {
		t.Fatalf("%s: tables with the same text differ: the text does not show everything", what)
	}
}

// sortedKeys is the union of the keys of tables.
func sortedKeys(tables ...ipvs.Table) []frontend.Key {
	all := map[frontend.Key]bool{}
	for _, t := range tables {
		for k := range t {
			all[k] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), frontend.Key.Compare)
}

// keysOf lists the virtual servers of a plan.
func keysOf(plan ipvs.Plan) []frontend.Key {
	keys := map[frontend.Key]bool{}
	for _, op := range plan {
		keys[op.Key] = true
	}
	return slices.SortedFunc(maps.Keys(keys), frontend.Key.Compare)
}
