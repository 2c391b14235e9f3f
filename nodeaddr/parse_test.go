package nodeaddr

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseSpecAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
	}{
		{"networks of both families", "10.0.0.0/8,fd00::/8", "10.0.0.0/8,fd00::/8"},
		{"every kind of entry mixed", "primary,iface:eth*,192.0.2.0/24", "primary,iface:eth*,192.0.2.0/24"},
		{"everything", "all", "all"},
		{"host bits, which are masked", "10.1.2.3/8,fd00::1/64", "10.0.0.0/8,fd00::/64"},
		{"blanks around entries", " primary , all ", "primary,all"},
		{"repeated entries once", "all,10.0.0.1/8,all,10.0.0.0/8", "all,10.0.0.0/8"},
		{"zero networks", "0.0.0.0/0,::/0", "0.0.0.0/0,::/0"},
		{"loopback networks, which serve nothing", "127.0.0.0/8,::1/128", "127.0.0.0/8,::1/128"},
		{"one address with its length", "10.0.0.1/32", "10.0.0.1/32"},
		{"an interface name with a dot", "iface:eth0.100", "iface:eth0.100"},
		{"a class of characters", "iface:eth[0-3]", "iface:eth[0-3]"},
		{"an escaped character", `iface:a\*`, `iface:a\*`},
		{"an interface called primary", "iface:primary", "iface:primary"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec, err := ParseSpec([]string{tc.in})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, spec.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			apart, err := ParseSpec(strings.Split(tc.in, ","))
			if err != nil || !apart.Equal(spec) {
				t.Errorf("entries one by one: %v, %v", apart, err)
			}
		})
	}
}

// Each part of the error must name its entry and say what to write instead.
func TestParseSpecRefusesWithAMend(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"a bare IPv4 address", "10.0.0.1", []string{`"10.0.0.1"`, "write 10.0.0.1/32"}},
		{"a bare IPv6 address", "fd00::1", []string{"write fd00::1/128"}},
		{"a bare IPv4 address in IPv6 notation", "::ffff:10.0.0.1", []string{"write 10.0.0.1/32"}},
		{"an IPv4 network in IPv6 notation", "::ffff:10.0.0.0/104", []string{"write 10.0.0.0/8"}},
		{"an IPv4 address with an IPv6 length", "::ffff:10.0.0.0/64", []string{"write 10.0.0.0/32"}},
		{"localhost", "localhost", []string{"127.0.0.1", "not possible"}},
		{"none", "none", []string{"127.0.0.0/8,::1/128"}},
		{"a bad pattern", "iface:eth[0", []string{`"iface:eth[0"`, "syntax error in pattern"}},
		{"no interface", "iface:", []string{"iface:eth0"}},
		{"an interface name that is too long", "iface:a234567890123456", []string{"15 characters"}},
		{"an interface name with a slash", "iface:a/b", []string{`"a/b" cannot be the name`}},
		{"an empty entry", "all,,primary", []string{`"": empty entry`, "comma too many"}},
		{"an empty text", "", []string{"empty entry"}},
		{"leading zeros in an address", "010.001.0.0/16", []string{"octal", "write 10.1.0.0/16"}},
		{"a leading zero in a length", "10.0.0.0/08", []string{"number from 0 to 32"}},
		{"a length that is too long", "10.0.0.0/33", []string{"number from 0 to 32"}},
		{"an IPv6 length that is too long", "fd00::/129", []string{"number from 0 to 128"}},
		{"a netmask", "10.0.0.0/255.0.0.0", []string{"number from 0 to 32"}},
		{"a negative length", "10.0.0.0/-1", []string{"number from 0 to 32"}},
		{"an empty length", "10.0.0.0/", []string{"number from 0 to 32"}},
		{"a zone", "fe80::1%eth0/64", []string{"iface:eth0"}},
		{"a word with an upper case letter", "Primary", []string{`write "primary"`}},
		{"an interface without its mark", "eth0", []string{`write "iface:eth0"`}},
		{"a range", "10.0.0.1-10.0.0.9/8", []string{"not a CIDR", "10.0.0.0/8"}},
		{"several bad entries", "10.0.0.1,all,fd00::1", []string{"write 10.0.0.1/32", "write fd00::1/128"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec, err := ParseSpec([]string{tc.in})
			if err == nil {
				t.Fatalf("accepted as %q", spec)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestParseSpecRefusesAnEmptyList(t *testing.T) {
	if _, err := ParseSpec(nil); err == nil || !strings.Contains(err.Error(), `write "primary"`) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.0/8", "::ffff:10.0.0.0/104", "primary,all", "iface:eth*", `iface:\`, "iface:[", "1.2.3.4", "fe80::1%x/64",
		",", "010.0.0.0/8", "10.0.0.0/-0", "iface: a", "0/0", "iface:\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		spec, err := ParseSpec([]string{in})
		if err != nil {
			if !spec.Equal(Spec{}) {
				t.Errorf("%q: both a spec %q and an error %v", in, spec, err)
			}
			return
		}
		again, err := ParseSpec([]string{spec.String()})
		if err != nil || !again.Equal(spec) {
			t.Errorf("%q is %q, which reads back as %q, %v", in, spec, again, err)
		}
		spec.Select([]Address{{Addr: netip.MustParseAddr("10.0.0.1"), Interface: "eth0"}}, nil)
	})
}

func TestSpecReadsBackWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"primary", "all", "iface:eth*", "iface:a?b", "iface:bond0.12"}),
			rapid.Custom(func(t *rapid.T) string {
				addr := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
				return netip.PrefixFrom(addr, rapid.IntRange(0, 32).Draw(t, "bits")).String()
			}),
		), 1, 6).Draw(t, "entries")
		spec, err := ParseSpec(entries)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSpec([]string{spec.String()})
		if err != nil || !again.Equal(spec) {
			t.Fatalf("%q reads back as %q, %v", spec, again, err)
		}
	})
}

func TestParseStatic(t *testing.T) {
	got, err := ParseStatic([]string{"eth1=10.2.0.10/24,eth0=10.1.0.10/24", "eth0=fd01::10/64", "eth0=10.1.0.10/24"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Address{address("eth0 10.1.0.10/24"), address("eth1 10.2.0.10/24"), address("eth0 fd01::10/64")}
	if diff := cmp.Diff(want, got, cmpAddr); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseStaticRefusesWithAMend(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
	}{
		{"no interface", "10.1.0.10/24", "write INTERFACE=ADDRESS/LENGTH"},
		{"an empty interface", "=10.1.0.10/24", "no name of an interface"},
		{"no length", "eth0=10.1.0.10", "write 10.1.0.10/32"},
		{"leading zeros", "eth0=10.01.0.10/24", "write 10.1.0.10/24"},
		{"IPv4 in IPv6 notation", "eth0=::ffff:10.1.0.10/120", "write 10.1.0.10/24"},
		{"an impossible interface", "eth 0=10.1.0.10/24", "cannot be the name"},
		{"an empty entry", "", "write INTERFACE="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseStatic([]string{tc.in})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v, want %q", got, err, tc.want)
			}
		})
	}
}

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// address reads "INTERFACE ADDRESS/LENGTH STATE..." as Address.String writes it.
func address(text string) Address {
	fields := strings.Fields(text)
	prefix := netip.MustParsePrefix(fields[1])
	a := Address{Addr: prefix.Addr(), PrefixLen: prefix.Bits(), Interface: fields[0]}
	for _, name := range fields[2:] {
		for s := Tentative; s <= Deprecated; s <<= 1 {
			if s.String() == name {
				a.State |= s
			}
		}
	}
	return a
}
