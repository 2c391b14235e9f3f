package filter

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func TestElementsAreReadAsNftPrintsThem(t *testing.T) {
	key := func(addr string, p frontend.Protocol) frontend.Key {
		return frontend.NewKey(netip.MustParseAddr(addr), p, 30080)
	}
	tests := []struct {
		name string
		set  container
		text string
		want frontend.Key
		err  string
	}{
		{name: "owned", set: ownedSet(true), text: "10.1.0.10 . udp . 30080", want: key("10.1.0.10", frontend.UDP)},
		{name: "owned, without /etc/protocols", set: ownedSet(true), text: "10.1.0.10 . 132 . 30080", want: key("10.1.0.10", frontend.SCTP)},
		{name: "owned, IPv6", set: ownedSet(false), text: "fd01::10 . tcp . 30080", want: key("fd01::10", frontend.TCP)},
		{name: "masqueraded", set: masqueradeMap(true, frontend.SCTP), text: "10.1.0.10 . 30080", want: key("10.1.0.10", frontend.SCTP)},
		{name: "masqueraded, IPv6", set: masqueradeMap(false, frontend.TCP), text: "fd01::10 . 30080", want: key("fd01::10", frontend.TCP)},

		{name: "too short", set: ownedSet(true), text: "10.1.0.10 . 30080", err: "not an element of this type"},
		{name: "too long", set: masqueradeMap(true, frontend.TCP), text: "10.1.0.10 . tcp . 30080", err: "not an element of this type"},
		{name: "protocol by unknown name", set: ownedSet(true), text: "10.1.0.10 . icmp . 1", err: "unknown protocol"},
		{name: "protocol by unknown number", set: ownedSet(true), text: "10.1.0.10 . 1 . 1", err: "proto-1 cannot be balanced"},
		{name: "protocol 0", set: ownedSet(true), text: "10.1.0.10 . 0 . 1", err: "not an element of this type"},
		{name: "port 0", set: ownedSet(true), text: "10.1.0.10 . tcp . 0", err: "port 0"},
		{name: "port by name", set: ownedSet(true), text: "10.1.0.10 . tcp . http", err: "invalid syntax"},
		{name: "port too high", set: ownedSet(true), text: "10.1.0.10 . tcp . 65536", err: "out of range"},
		{name: "prefix", set: ownedSet(true), text: "10.1.0.0/24 . tcp . 80", err: "unexpected character"},
		{name: "IPv6 in an IPv4 set", set: ownedSet(true), text: "fd01::10 . tcp . 80", err: "other family"},
		{name: "IPv4-mapped", set: ownedSet(false), text: "::ffff:10.1.0.10 . tcp . 80", err: "not in canonical form"},
		{name: "multicast", set: ownedSet(true), text: "224.0.0.1 . tcp . 80", err: "not the address of one host"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rules := Rules{}
			rules.init()
			err := test.set.add(&knftables.Element{Key: strings.Split(test.text, " . "), Value: []string{"goto masquerade-pods"}}, &rules)
			got := append(rules.Owned.Keys(), slices.Collect(maps.Keys(rules.Masquerade))...)
			switch {
			case test.err == "" && (err != nil || len(got) != 1 || got[0] != test.want):
				t.Errorf("keys = %v, %v; want %v", got, err, test.want)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), test.set.name()+": "+test.text)):
				t.Errorf("error %v; want the set, the element and %q", err, test.err)
			}
		})
	}
}

func TestVerdictsAndPrefixesAreReadAsNftPrintsThem(t *testing.T) {
	tests := []struct {
		name    string
		element knftables.Element
		in      container
		want    Rules
		err     string
	}{
		{
			name: "a verdict", in: masqueradeMap(true, frontend.TCP),
			element: knftables.Element{Key: []string{"10.1.0.10", "80"}, Value: []string{"goto masquerade-remote"}},
			want:    Rules{Masquerade: map[frontend.Key]Masquerade{frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 80): MasqueradeRemote}},
		},
		{
			name: "somebody else's verdict", in: masqueradeMap(true, frontend.TCP),
			element: knftables.Element{Key: []string{"10.1.0.10", "80"}, Value: []string{"drop"}}, err: `unknown verdict "drop"`,
		},
		{
			name: "a prefix", in: podsSet(true),
			element: knftables.Element{Key: []string{"10.244.1.0/24"}}, want: Rules{Pods: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}},
		},
		{
			name: "a single address", in: podsSet(false),
			element: knftables.Element{Key: []string{"fd44::1"}}, want: Rules{Pods: []netip.Prefix{netip.MustParsePrefix("fd44::1/128")}},
		},
		{name: "a range", in: podsSet(true), element: knftables.Element{Key: []string{"10.0.0.1-10.0.0.9"}}, err: "unexpected character"},
		{name: "bits behind the length", in: podsSet(true), element: knftables.Element{Key: []string{"10.244.1.7/24"}}, err: "bits behind its length"},
		{name: "the other family", in: podsSet(true), element: knftables.Element{Key: []string{"fd44::/64"}}, err: "other family"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got Rules
			got.init()
			err := test.in.add(&test.element, &got)
			if test.err == "" && (err != nil || !got.Equal(test.want)) {
				t.Errorf("rules = %v, %v; want %v", got, err, test.want)
			}
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}
