package nodeaddr

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// node is a host with two networks, some addresses that cannot serve, and the dummies of other proxies.
const node = `
lo 127.0.0.1/8
lo ::1/128
lo 192.0.2.53/32
eth0 10.1.0.10/24
eth0 fd01::10/64
eth0 fd01::77/64 temporary
eth0 fe80::1/64
eth1 10.2.0.10/24
eth1 10.2.0.11/24 deprecated
eth1 fd02::10/64 tentative
eth1 fd02::11/64 tentative optimistic
eth1 fd02::12/64 tentative dadfailed
kube-ipvs0 10.96.0.1/32
kube-ipvs0 10.2.0.10/32
kube-dummy-if 10.96.0.2/32
nodelocaldns 10.96.0.10/32
nodelocaldns 169.254.20.10/32
`

func addresses(text string) []Address {
	out := []Address{}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			out = append(out, address(line))
		}
	}
	return out
}

func addrs(text string) []netip.Addr {
	var out []netip.Addr
	for _, f := range strings.Fields(text) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

func TestSelect(t *testing.T) {
	for _, tc := range []struct {
		name, spec, primary, want string
	}{
		{
			"all takes everything that can serve", "all", "",
			"10.1.0.10 10.2.0.10 10.2.0.11 192.0.2.53 fd01::10 fd02::11",
		},
		{"a zero network takes its family only", "0.0.0.0/0", "", "10.1.0.10 10.2.0.10 10.2.0.11 192.0.2.53"},
		{"a family that no entry selects is not served", "10.0.0.0/8", "", "10.1.0.10 10.2.0.10 10.2.0.11"},
		{"primary takes the node's addresses", "primary", "10.1.0.10 fd01::10", "10.1.0.10 fd01::10"},
		{"primary of one family leaves the other closed", "primary", "10.1.0.10", "10.1.0.10"},
		{"primary in IPv6 notation is the same address", "primary", "::ffff:10.1.0.10", "10.1.0.10"},
		{"primary that no interface has is not served", "primary", "10.9.9.9", ""},
		{"primary that cannot serve is not served", "primary", "fd01::77 127.0.0.1", ""},
		{"an interface takes both families", "iface:eth0", "", "10.1.0.10 fd01::10"},
		{"a pattern takes several interfaces", "iface:eth*", "", "10.1.0.10 10.2.0.10 10.2.0.11 fd01::10 fd02::11"},
		{"entries add up", "iface:eth0,10.2.0.11/32,primary", "10.2.0.10", "10.1.0.10 10.2.0.10 10.2.0.11 fd01::10"},
		{"loopback networks serve nothing", "127.0.0.0/8,::1/128", "", ""},
		{"primary counts only where it is written", "iface:lo", "10.1.0.10", "192.0.2.53"},
		{"a service dummy never serves", "iface:kube-*,iface:nodelocaldns", "", ""},
		{"an address that a real interface has too is served", "10.2.0.10/32", "", "10.2.0.10"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec, err := ParseSpec([]string{tc.spec})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := spec.Select(addresses(node), addrs(tc.primary))
			if !slices.Equal(got, addrs(tc.want)) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSelectSaysWhyAnAddressDoesNotServe(t *testing.T) {
	spec, err := ParseSpec([]string{"primary,iface:eth1,iface:kube-ipvs0,169.254.0.0/16,127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	_, rejected := spec.Select(addresses(node), addrs("10.9.9.9 fd01::77"))
	var got []string
	for _, r := range rejected {
		got = append(got, r.Addr.String()+": "+r.Reason)
	}
	want := []string{
		"10.1.0.10: not selected by --nodeport-addresses",
		"10.9.9.9: primary address of the Node object, but no interface of this host has it",
		"10.96.0.1: on kube-ipvs0, where kube-proxy in IPVS mode keeps addresses of Services",
		"10.96.0.2: not selected by --nodeport-addresses",
		"10.96.0.10: not selected by --nodeport-addresses",
		"127.0.0.1: loopback address: IPVS cannot balance connections from it to other hosts",
		"169.254.20.10: link-local address: it is not unique on a node with several networks",
		"192.0.2.53: not selected by --nodeport-addresses",
		"::1: not selected by --nodeport-addresses",
		"fd01::10: not selected by --nodeport-addresses",
		"fd01::77: temporary address: the kernel replaces it regularly (RFC 8981)",
		"fd02::10: tentative address: duplicate address detection is not over",
		"fd02::12: duplicate address: another host on the link has it",
		"fe80::1: not selected by --nodeport-addresses",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSelectSaysThatAnInterfaceIsNotKnown(t *testing.T) {
	spec, err := ParseSpec([]string{"iface:*"})
	if err != nil {
		t.Fatal(err)
	}
	served, rejected := spec.Select([]Address{{Addr: netip.MustParseAddr("10.0.0.1"), PrefixLen: 32}}, nil)
	if len(served) != 0 || len(rejected) != 1 || !strings.Contains(rejected[0].Reason, "interface is not known") {
		t.Errorf("got %v, %v", served, rejected)
	}
}

func TestSelectSaysThatNoAddressIsKnownToBePrimary(t *testing.T) {
	const unknown = "no Node object says which address is primary"
	for _, tc := range []struct {
		name, spec, primary string
		want                bool
	}{
		{"primary alone, none given", "primary", "", true},
		{"primary beside an entry that selects nothing here, none given", "primary,192.0.2.0/24", "", true},
		{"primary given, another one", "primary", "10.9.9.9", false},
		{"primary not asked for", "192.0.2.0/24", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec, err := ParseSpec([]string{tc.spec})
			if err != nil {
				t.Fatal(err)
			}
			served, rejected := spec.Select(addresses("eth0 10.1.0.10/24"), addrs(tc.primary))
			if len(served) != 0 || len(rejected) == 0 {
				t.Fatalf("got %v, %v", served, rejected)
			}
			// The first in order: a primary address that no interface has comes behind it.
			if reason := rejected[0].Reason; strings.Contains(reason, unknown) != tc.want {
				t.Errorf("rejected with %q", reason)
			}
		})
	}
}

func TestZeroSpecSelectsNothing(t *testing.T) {
	if got, _ := (Spec{}).Select(addresses(node), addrs("10.1.0.10")); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestMulticastAndUnspecifiedAreUnusable(t *testing.T) {
	for _, a := range append(addrs("224.0.0.1 ff02::1 0.0.0.0 ::"), netip.Addr{}) {
		if (Address{Addr: a}).Unusable() == "" {
			t.Errorf("%v could serve", a)
		}
	}
}

// Whatever the order and repetition of the input: each address either serves or is rejected with a reason, never both.
func TestEveryAddressServesOrIsRejected(t *testing.T) {
	all := addresses(node)
	rapid.Check(t, func(t *rapid.T) {
		spec, err := ParseSpec(rapid.SliceOfN(rapid.SampledFrom([]string{
			"primary", "all", "iface:eth1", "iface:lo", "10.1.0.0/16", "fd00::/8", "127.0.0.0/8",
		}), 1, 3).Draw(t, "spec"))
		if err != nil {
			t.Fatal(err)
		}
		in := rapid.SliceOf(rapid.SampledFrom(all)).Draw(t, "addresses")
		primary := rapid.SliceOf(rapid.SampledFrom(addrs("10.1.0.10 fd01::10 10.9.9.9"))).Draw(t, "primary")
		served, rejected := spec.Select(in, primary)
		if !slices.IsSortedFunc(served, netip.Addr.Compare) || len(slices.Compact(slices.Clone(served))) != len(served) {
			t.Fatalf("not sorted or not unique: %v", served)
		}
		refused := map[netip.Addr]bool{}
		for _, r := range rejected {
			refused[r.Addr] = true
			if r.Reason == "" || slices.Contains(served, r.Addr) {
				t.Fatalf("%v is rejected with %q, served %v", r.Addr, r.Reason, served)
			}
		}
		for _, a := range in {
			if !slices.Contains(served, a.Addr) && !refused[a.Addr] {
				t.Fatalf("%v is neither served nor rejected", a)
			}
		}
		slices.Reverse(in)
		again, _ := spec.Select(in, primary)
		if !slices.Equal(again, served) {
			t.Fatalf("the order of the input matters: %v, %v", served, again)
		}
	})
}
