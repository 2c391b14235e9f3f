package nodeaddr

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attr is one attribute of a message under test.
func attr(kind int, value []byte) []byte { return nl.NewRtAttr(kind, value).Serialize() }

// linkMessage and addrMessage are about the link with index 3.
func linkMessage(family uint8, attrs ...[]byte) []byte {
	msg := nl.NewIfInfomsg(int(family))
	msg.Index = 3
	return append(msg.Serialize(), slices.Concat(attrs...)...)
}

func addrMessage(family, prefixLen, flags uint8, attrs ...[]byte) []byte {
	msg := nl.NewIfAddrmsg(int(family))
	msg.Prefixlen, msg.Flags, msg.Index = prefixLen, flags, 3
	return append(msg.Serialize(), slices.Concat(attrs...)...)
}

func TestDecode(t *testing.T) {
	v4, peer, v6 := netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("fd01::10")
	allFlags := attr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_DEPRECATED|unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC|
		unix.IFA_F_DADFAILED|unix.IFA_F_TEMPORARY|unix.IFA_F_NOPREFIXROUTE))
	for _, tc := range []struct {
		name string
		kind uint16
		body []byte
		want event
	}{
		{
			"a link", unix.RTM_NEWLINK, linkMessage(0, attr(unix.IFLA_IFNAME, []byte("eth0\x00"))),
			linkAdded{index: 3, name: "eth0"},
		},
		{"a link that goes", unix.RTM_DELLINK, linkMessage(0), linkGone{index: 3}},
		{"a port that leaves its bridge is no link that goes", unix.RTM_DELLINK, linkMessage(unix.AF_BRIDGE), nil},
		{
			"IPv4", unix.RTM_NEWADDR,
			addrMessage(unix.AF_INET, 24, 0, attr(unix.IFA_ADDRESS, v4.AsSlice()), attr(unix.IFA_LOCAL, v4.AsSlice())),
			addrAdded{key: addrKey{3, netip.PrefixFrom(v4, 24), v4}},
		},
		{
			"IPv4 with a peer", unix.RTM_NEWADDR,
			addrMessage(unix.AF_INET, 32, 0, attr(unix.IFA_ADDRESS, peer.AsSlice()), attr(unix.IFA_LOCAL, v4.AsSlice())),
			addrAdded{key: addrKey{3, netip.PrefixFrom(v4, 32), peer}},
		},
		{
			"secondary IPv4 is not temporary", unix.RTM_NEWADDR,
			addrMessage(unix.AF_INET, 24, unix.IFA_F_SECONDARY, attr(unix.IFA_LOCAL, v4.AsSlice())),
			addrAdded{key: addrKey{3, netip.PrefixFrom(v4, 24), netip.Addr{}}},
		},
		{
			"temporary IPv6 by the short flags", unix.RTM_NEWADDR,
			addrMessage(unix.AF_INET6, 64, unix.IFA_F_TEMPORARY, attr(unix.IFA_ADDRESS, v6.AsSlice())),
			addrAdded{addrKey{3, netip.PrefixFrom(v6, 64), v6}, Temporary},
		},
		{
			"every flag of IPv6 by the long flags", unix.RTM_NEWADDR,
			addrMessage(unix.AF_INET6, 64, 0, attr(unix.IFA_ADDRESS, v6.AsSlice()), allFlags),
			addrAdded{addrKey{3, netip.PrefixFrom(v6, 64), v6}, Tentative | Optimistic | DADFailed | Temporary | Deprecated},
		},
		{
			"an address that goes", unix.RTM_DELADDR,
			addrMessage(unix.AF_INET6, 64, 0, attr(unix.IFA_ADDRESS, v6.AsSlice())),
			addrGone{addrKey{3, netip.PrefixFrom(v6, 64), v6}},
		},
		{"another family", unix.RTM_NEWADDR, addrMessage(unix.AF_PHONET, 0, 0), nil},
		{"another message", unix.RTM_NEWROUTE, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decode(tc.kind, tc.body)
			if err != nil || got != tc.want {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestDecodeRefusesWhatItCannotRead(t *testing.T) {
	for name, tc := range map[string]struct {
		kind uint16
		body []byte
	}{
		"a short link":                {unix.RTM_NEWLINK, []byte{0}},
		"a link without a name":       {unix.RTM_NEWLINK, linkMessage(0)},
		"a short address":             {unix.RTM_NEWADDR, []byte{unix.AF_INET}},
		"no address at all":           {unix.RTM_NEWADDR, addrMessage(unix.AF_INET, 24, 0)},
		"an address of three bytes":   {unix.RTM_NEWADDR, addrMessage(unix.AF_INET, 24, 0, attr(unix.IFA_LOCAL, []byte{1, 2, 3}))},
		"an attribute beyond its end": {unix.RTM_NEWADDR, addrMessage(unix.AF_INET, 24, 0, []byte{99, 0, 1, 0})},
	} {
		if e, err := decode(tc.kind, tc.body); err == nil {
			t.Errorf("%s: got %v", name, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	v6 := netip.MustParseAddr("fd01::10").AsSlice()
	f.Add(uint16(unix.RTM_NEWLINK), linkMessage(0, attr(unix.IFLA_IFNAME, []byte("eth0\x00"))))
	f.Add(uint16(unix.RTM_NEWADDR), addrMessage(unix.AF_INET6, 64, 0, attr(unix.IFA_ADDRESS, v6)))
	f.Add(uint16(unix.RTM_DELADDR), addrMessage(unix.AF_INET6, 64, 0, []byte{5, 0, 1, 0, 1}))
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		e, err := decode(kind, body)
		if e != nil && err != nil {
			t.Errorf("both an event %v and an error %v", e, err)
		}
		if e != nil {
			table := newTable()
			e.apply(table)
			table.addresses()
		}
	})
}

func TestTableFollowsEvents(t *testing.T) {
	key := func(link int32, prefix string) addrKey {
		return addrKey{link: link, prefix: netip.MustParsePrefix(prefix)}
	}
	table := newTable()
	for _, step := range []struct {
		name    string
		event   event
		changed bool
		want    string
	}{
		{"a link without addresses is no news", linkAdded{1, "eth0"}, false, ""},
		{"an address appears", addrAdded{key(1, "10.1.0.10/24"), 0}, true, "eth0 10.1.0.10/24"},
		{"told again it is no news", addrAdded{key(1, "10.1.0.10/24"), 0}, false, "eth0 10.1.0.10/24"},
		{"a second one with the same number", addrAdded{key(1, "10.1.0.10/32"), 0}, true, "eth0 10.1.0.10/24\neth0 10.1.0.10/32"},
		{"the second goes", addrGone{key(1, "10.1.0.10/32")}, true, "eth0 10.1.0.10/24"},
		{"what is not there goes", addrGone{key(1, "10.9.0.10/32")}, false, "eth0 10.1.0.10/24"},
		{"the state changes", addrAdded{key(1, "10.1.0.10/24"), Deprecated}, true, "eth0 10.1.0.10/24 deprecated"},
		{"the link is renamed", linkAdded{1, "lan0"}, true, "lan0 10.1.0.10/24 deprecated"},
		{"an address without its link waits", addrAdded{key(2, "fd01::1/64"), 0}, true, "lan0 10.1.0.10/24 deprecated"},
		{"until the link is known", linkAdded{2, "eth1"}, true, "lan0 10.1.0.10/24 deprecated\neth1 fd01::1/64"},
		{"a link goes with its addresses", linkGone{1}, true, "eth1 fd01::1/64"},
		{"and is gone", linkGone{1}, false, "eth1 fd01::1/64"},
	} {
		changed := step.event.apply(table)
		if changed != step.changed {
			t.Errorf("%s: changed %v, want %v", step.name, changed, step.changed)
		}
		if diff := cmp.Diff(addresses(step.want), table.addresses(), cmpAddr); diff != "" {
			t.Errorf("%s (-want +got)\n%s", step.name, diff)
		}
	}
}
