//go:build kernel

package filter

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func parsePrefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func sourcesOf(s *Sources, keys ...frontend.Key) Rules {
	rules := Rules{Sources: map[frontend.Key]*Sources{}, Owned: NewSet(keys...)}
	for _, key := range keys {
		rules.Sources[key] = s
	}
	return rules
}

func twoFrontends() (ipv4, ipv6 frontend.Key) {
	return frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080),
		frontend.NewKey(netip.MustParseAddr("fd01::10"), frontend.UDP, 30080)
}

// ruleset is all that nft lists, without what changes when the same is made once more.
func ruleset(t *testing.T) string {
	t.Helper()
	return nft(t, "list ruleset")
}

func TestListsOfAllShapesAreWrittenAndReadBack(t *testing.T) {
	table := newKernelTable(t)
	ipv4, ipv6 := twoFrontends()
	empty := ruleset(t)
	var have Rules
	for _, s := range []*Sources{
		NewSources(parsePrefixes("10.0.0.0/8"), nil),
		NewSources(nil, parsePrefixes("fd01::/64")),
		NewSources(parsePrefixes("0.0.0.0/0"), nil),
		NewSources(parsePrefixes("0.0.0.0/0", "::/0"), parsePrefixes("10.1.0.0/16", "fd01::9/128")),
		Nobody(),
		// Side by side, and at the ends: nft must neither join nor lose them.
		NewSources(parsePrefixes("0.0.0.0/32", "0.0.0.1/32", "10.0.0.0/25", "10.0.0.128/25", "128.0.0.0/1"),
			parsePrefixes("255.255.255.255/32", "::/128", "8000::/1")),
		NewSources(parsePrefixes("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"), nil),
		nil,
	} {
		want := Rules{}
		if s != nil {
			want = sourcesOf(s, ipv4, ipv6)
		}
		before, change := generation(t), Diff(have, want)
		if err := table.Apply(t.Context(), change); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if now := generation(t); now != before+transactions(change) {
			t.Errorf("%s: %d transactions, want %d", s, now-before, transactions(change))
		}
		have = want
		wantState(t, table, want)
	}
	if left := ruleset(t); left != empty {
		t.Errorf("there was\n%s\nand is\n%s", empty, left)
	}
}

// transactions is how many a change takes: lists are made before they are pointed to, and removed afterwards.
func transactions(c Change) uint32 {
	n := uint32(1)
	if c.Lists != nil {
		n += uint32(min(1, len(c.Lists.Add)) + min(1, len(c.Lists.Del)))
	}
	return n
}

// Annotations hold some ten thousand prefixes.
func TestAListOfTenThousandPrefixes(t *testing.T) {
	table := newKernelTable(t)
	many := func(offset int) *Sources {
		var allow []netip.Prefix
		for i := range 10000 {
			n := i + offset
			if i%2 == 0 {
				allow = append(allow, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 25))
			} else {
				allow = append(allow, netip.MustParsePrefix(fmt.Sprintf("fd00:%x::/64", n)))
			}
		}
		return NewSources(allow, nil)
	}
	step := func(what string, f func() error) {
		t.Helper()
		start := time.Now()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s took %v", what, time.Since(start).Round(time.Millisecond))
	}
	ipv4, ipv6 := twoFrontends()
	var rules Rules
	change := func(what string, want Rules) {
		t.Helper()
		step(what, func() error { return table.Apply(t.Context(), Diff(rules, want)) })
		rules = want
		wantState(t, table, want)
	}
	change("adding the list", sourcesOf(many(0), ipv4))
	change("another frontend with it", sourcesOf(many(0), ipv4, ipv6))
	change("another list", sourcesOf(many(10000), ipv4, ipv6))
	step("listing by nft alone", exec.CommandContext(t.Context(), "nft", "-j", "list", "table", string(Family), Name).Run)
	step("replacing the table", func() error { return table.Replace(t.Context(), rules) })
	change("removing it", Rules{})
}

func TestAListThatSomebodyElseUsesIsOutOfStep(t *testing.T) {
	table := newKernelTable(t)
	ipv4, ipv6 := twoFrontends()
	rules := sourcesOf(Nobody(), ipv4)
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	nft(t, fmt.Sprintf("add element inet kube-ipvs sources-ipv6 { %s . udp . %d : jump sources-%s }", ipv6.Addr, ipv6.Port, Nobody().ID()))
	if err := table.Apply(t.Context(), Diff(rules, Rules{})); !IsOutOfStep(err) {
		t.Errorf("Apply = %v, want an error that IsOutOfStep", err)
	} else {
		t.Log(err)
	}
	if err := table.Replace(t.Context(), Rules{}); err != nil {
		t.Fatal(err)
	}
	wantState(t, table, Rules{})
}

// What is damaged is mended with the list if it can be read, and with one that admits nobody if not. No damage opens it.
func TestADamagedListIsMendedOrClosed(t *testing.T) {
	table := newKernelTable(t)
	ipv4, ipv6 := twoFrontends()
	s := NewSources(parsePrefixes("10.0.0.0/8", "fd00::/8"), parsePrefixes("10.1.0.0/16"))
	const element = "element inet kube-ipvs sources-ipv4 { 10.1.0.10 . tcp . 30080 "
	for damage, lost := range map[string]bool{
		"flush chain inet kube-ipvs sources-ID":                                                      false,
		"insert rule inet kube-ipvs sources-ID accept":                                               false,
		"flush chain inet kube-ipvs input":                                                           false,
		"add set inet kube-ipvs deny-ID-ipv6 { type ipv6_addr; flags interval; }":                    false,
		"add chain inet kube-ipvs sources-00000000000000000000000000000000":                          false,
		"add set inet kube-ipvs allow-00000000000000000000000000000000-ipv4 { type ipv4_addr; }":     false,
		"add element inet kube-ipvs allow-ID-ipv4 { 172.16.0.0/12 }":                                 true,
		"add element inet kube-ipvs allow-ID-ipv4 { 172.16.0.1-172.16.0.9 }":                         true,
		"delete element inet kube-ipvs deny-ID-ipv4 { 10.1.0.0/16 }":                                 true,
		"flush set inet kube-ipvs allow-ID-ipv6":                                                     true,
		"flush chain inet kube-ipvs sources-ID; delete set inet kube-ipvs deny-ID-ipv4":              true,
		"add chain inet kube-ipvs trace; delete " + element + "}; add " + element + ": jump trace }": true,
		"delete " + element + "}; add " + element + ": accept }":                                     true,
		"delete " + element + "}; add " + element + ": goto sources-ID }":                            true,
	} {
		rules := sourcesOf(s, ipv4, ipv6)
		if err := table.Replace(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
		nft(t, strings.ReplaceAll(damage, "ID", s.ID()))
		if state, err := table.Read(t.Context()); err != nil || state.Intact {
			t.Errorf("after %q: intact %v, %v", damage, state.Intact, err)
		}
		if wrote, err := table.Ensure(t.Context()); err != nil || !wrote {
			t.Errorf("after %q: Ensure = %v, %v; want true, nil", damage, wrote, err)
		}
		if lost {
			rules.Sources[ipv4] = Nobody()
			if !strings.Contains(damage, "element inet kube-ipvs sources-ipv4") {
				rules.Sources[ipv6] = Nobody()
			}
		}
		wantState(t, table, rules)
	}
}
