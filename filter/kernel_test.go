//go:build kernel

package filter

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// newNamespace moves the test into a network namespace of its own until it ends.
func newNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // not unlocked if the thread cannot go back: then it ends with the test
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	mine, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := netns.Set(before)
		if err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
		_, _ = mine.Close(), before.Close()
	})
}

// newKernelTable is the table of a fresh network namespace, made by Ensure.
func newKernelTable(t *testing.T) *Table {
	t.Helper()
	newNamespace(t)
	table, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if wrote, err := table.Ensure(t.Context()); err != nil || !wrote {
		t.Fatalf("Ensure = %v, %v; want true, nil", wrote, err)
	}
	return table
}

// nft runs nft as somebody else.
func nft(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

func generation(t *testing.T) uint32 {
	t.Helper()
	id, err := Generation()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// manyRules has n frontends on two addresses of each family, half of them masqueraded, in turns for whom, a quarter
// internal, and a third with one of two lists of clients.
func manyRules(n int) Rules {
	rules := Rules{Pods: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd44:1::/64")}}
	rules.init()
	lists := []*Sources{NewSources(parsePrefixes("10.0.0.0/8", "fd00::/8"), nil), NewSources(nil, parsePrefixes("192.0.2.0/24"))}
	addrs := []string{"10.1.0.10", "fd01::10", "10.2.0.10", "fd02::10"}
	for i := range n {
		key := frontend.NewKey(netip.MustParseAddr(addrs[i%4]), frontend.Protocols()[i%3], uint16(80+i/4))
		rules.Owned[key] = struct{}{}
		if i%2 == 0 {
			rules.Masquerade[key] = masquerades()[i/2%3]
		}
		if i%4 == 0 {
			rules.Internal[key] = struct{}{}
		}
		if i%3 == 0 {
			rules.Sources[key] = lists[i%2]
		}
	}
	return rules
}

func wantState(t *testing.T, table *Table, want Rules) {
	t.Helper()
	start := time.Now()
	state, err := table.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dumpOnce(); err != nil {
		t.Errorf("the kernel itself is not understood: %v", err)
	}
	t.Logf("reading %d elements took %v", len(want.Owned)+len(want.Masquerade), time.Since(start).Round(time.Millisecond))
	if !state.Intact || len(state.Stray) > 0 || !state.Rules.Equal(want) {
		t.Fatalf("intact %v, stray %v, %d owned and %d masqueraded; want all %d and %d", state.Intact, state.Stray,
			len(state.Rules.Owned), len(state.Rules.Masquerade), len(want.Owned), len(want.Masquerade))
	}
}

func TestAnOperatorSeesWhatTheTableIsFor(t *testing.T) {
	table := newKernelTable(t)
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	change := Change{
		AddOwned: []frontend.Key{key}, AddInternal: []frontend.Key{key}, Masquerade: []MasqueradeChange{{Key: key, Is: MasqueradeAll}},
		Sources: []SourcesChange{{Key: key, Is: NewSources(parsePrefixes("10.0.0.0/8", "fd00::/8"), parsePrefixes("10.9.0.0/16"))}},
		Pods:    []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, SetPods: true,
	}
	change = Rules{}.Complete(change)
	if err := table.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	got := nft(t, "list ruleset")
	want, err := os.ReadFile("testdata/listing.txt")
	if err != nil {
		t.Fatal(err)
	}
	// Versions of nft indent and break lines differently, and newer ones may print more: every line must be there.
	lines := func(text string) []string {
		var trimmed []string
		for line := range strings.Lines(text) {
			trimmed = append(trimmed, strings.TrimSpace(line))
		}
		return trimmed
	}
	for _, line := range lines(string(want)) {
		if !slices.Contains(lines(got), line) {
			t.Errorf("not listed: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("nft list ruleset:\n%s", got)
	}
}

func TestNothingIsWrittenWhenNothingChanges(t *testing.T) {
	table := newKernelTable(t)
	rules := manyRules(40)
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	before := generation(t)
	if wrote, err := table.Ensure(t.Context()); err != nil || wrote {
		t.Errorf("Ensure = %v, %v; want false, nil", wrote, err)
	}
	wantState(t, table, rules)
	if err := table.Apply(t.Context(), Diff(rules, rules)); err != nil {
		t.Error(err)
	}
	known := Rules{Pods: rules.Pods, Sources: rules.Sources, Internal: rules.Internal} // one that narrows writes its hooks anew
	if err := table.Apply(t.Context(), Diff(known, rules)); err != nil {
		t.Errorf("adding what is there: %v", err)
	}
	if _, err := Open(Options{}); err != nil {
		t.Error(err)
	}
	if now := generation(t); now != before {
		t.Errorf("the generation went from %d to %d", before, now)
	}
}

func TestFiveThousandFrontendsAreOneTransactionBesideTheirLists(t *testing.T) {
	table := newKernelTable(t)
	rules := manyRules(5000)
	step := func(what string, want uint32, f func() error) {
		t.Helper()
		before, start := generation(t), time.Now()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s took %v", what, time.Since(start).Round(time.Millisecond))
		if now := generation(t); now != before+want {
			t.Errorf("%s: %d transactions, want %d", what, now-before, want)
		}
	}
	step("adding 5,000", transactions(Diff(Rules{}, rules)), func() error { return table.Apply(t.Context(), Diff(Rules{}, rules)) })
	wantState(t, table, rules)
	step("adding one", 1, func() error {
		key := frontend.NewKey(netip.MustParseAddr("10.3.0.10"), frontend.TCP, 30080)
		change := Change{AddOwned: []frontend.Key{key}, Masquerade: []MasqueradeChange{{Key: key, Is: MasqueradeAll}}}
		rules.Commit(change)
		return table.Apply(t.Context(), change)
	})
	step("replacing all", 1, func() error { return table.Replace(t.Context(), rules) })
	step("deleting all but 10", transactions(Diff(rules, manyRules(10))), func() error { return table.Apply(t.Context(), Diff(rules, manyRules(10))) })
	wantState(t, table, manyRules(10))
}

func TestTheKernelToleratesWhatIsDoneAlready(t *testing.T) {
	table := newKernelTable(t)
	actual, believed, want := manyRules(12), manyRules(24), manyRules(6)
	maps.DeleteFunc(believed.Sources, func(key frontend.Key, _ *Sources) bool { return actual.Sources[key] == nil }) // maps refuse those
	if err := table.Replace(t.Context(), actual); err != nil {
		t.Fatal(err)
	}
	change := Diff(believed, want)
	if err := table.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	wantState(t, table, want)
	if err := table.Apply(t.Context(), Diff(want, actual)); err != nil {
		t.Fatal(err)
	}
	wantState(t, table, actual)
}

func TestAFlushedRulesetIsMissingUntilItIsReplaced(t *testing.T) {
	table := newKernelTable(t)
	rules := manyRules(1000)
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	nft(t, "flush ruleset")
	if state, err := table.Read(t.Context()); err != nil || state.Intact || !state.Rules.Equal(Rules{}) {
		t.Errorf("Read = %+v, %v; want nothing, and no error", state, err)
	}
	err := table.Apply(t.Context(), Diff(Rules{}, rules))
	if !IsOutOfStep(err) || len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") {
		t.Errorf("Apply = %v; want one line that IsOutOfStep", err)
	}
	t.Log(err)
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	wantState(t, table, rules)
	for range 2 {
		if err := table.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if left := nft(t, "list ruleset"); left != "" {
		t.Errorf("left over: %s", left)
	}
}

func TestADamagedTableIsMadeAnewWithItsElements(t *testing.T) {
	table := newKernelTable(t)
	rules := manyRules(40)
	for _, damage := range []string{
		"flush chain inet kube-ipvs postrouting",
		"flush chain inet kube-ipvs postrouting; delete chain inet kube-ipvs postrouting",
		"insert rule inet kube-ipvs postrouting accept",
		"flush chain inet kube-ipvs masquerade-pods",
		"flush chain inet kube-ipvs input; delete chain inet kube-ipvs input",
		"flush set inet kube-ipvs internal-ipv4; flush set inet kube-ipvs internal-ipv6; flush map inet kube-ipvs sources-ipv4; flush map inet kube-ipvs sources-ipv6",
		"flush chain inet kube-ipvs postrouting-ipv4-sctp; delete map inet kube-ipvs masquerade-ipv4-sctp; " +
			"add element inet kube-ipvs owned-ipv4 { 10.9.9.9 . icmp . 1 }",
	} {
		if err := table.Replace(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
		nft(t, damage)
		before := generation(t)
		if wrote, err := table.Ensure(t.Context()); err != nil || !wrote {
			t.Errorf("after %q: Ensure = %v, %v; want true, nil", damage, wrote, err)
		}
		if now := generation(t); now != before+1 {
			t.Errorf("after %q: mended in %d transactions, want one", damage, now-before)
		}
		want := rules
		if strings.Contains(damage, "flush set") {
			want = rules.Clone()
			clear(want.Internal)
			clear(want.Sources)
		}
		if strings.Contains(damage, "delete map") {
			want = rules.Clone()
			maps.DeleteFunc(want.Masquerade, func(key frontend.Key, _ Masquerade) bool {
				return key.Addr.Is4() && key.Protocol == frontend.SCTP
			})
		}
		wantState(t, table, want)
	}
}

func TestElementsOfOthersAreReadFromTheKernel(t *testing.T) {
	table := newKernelTable(t)
	nft(t, `add element inet kube-ipvs owned-ipv4 { 10.9.9.9 . icmp . 1, 10.9.9.9 . 253 . 1, 10.9.9.9 . sctp . 0, 10.9.9.9 . tcp . http }
add element inet kube-ipvs masquerade-ipv6-udp { ::ffff:10.1.0.10 . 30080 : drop }`)
	state, err := table.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := frontend.NewKey(netip.MustParseAddr("10.9.9.9"), frontend.TCP, 80)
	if len(state.Stray) != 4 || len(state.Rules.Owned) != 1 || !state.Rules.Owned.Has(key) {
		t.Errorf("stray %v, rules %v; want four, and %s", state.Stray, state.Rules, key)
	}
	t.Log(fmt.Sprint(state.Stray))
}

func TestAnotherVerdictThanTheOneThatWasIsOutOfStep(t *testing.T) {
	table := newKernelTable(t)
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	rules := Rules{Masquerade: map[frontend.Key]Masquerade{key: MasqueradeAll}}
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	before := generation(t)
	for _, was := range []Masquerade{MasqueradeNone, MasqueradePods} {
		change := Change{Masquerade: []MasqueradeChange{{Key: key, Was: was, Is: MasqueradeRemote}}}
		if err := table.Apply(t.Context(), change); !IsOutOfStep(err) {
			t.Errorf("was %s: Apply = %v, want an error that IsOutOfStep", was, err)
		}
	}
	if now := generation(t); now != before {
		t.Errorf("the generation went from %d to %d", before, now)
	}
	wantState(t, table, rules)
	for _, m := range []Masquerade{MasqueradePods, MasqueradeRemote, MasqueradeNone, MasqueradeAll} {
		want := Rules{Masquerade: map[frontend.Key]Masquerade{}}
		if m != MasqueradeNone {
			want.Masquerade[key] = m
		}
		if err := table.Apply(t.Context(), Diff(rules, want)); err != nil {
			t.Error(err)
		}
		rules = want
		wantState(t, table, rules)
	}
}

func TestNetworksOfPodsMayOverlapThoseBefore(t *testing.T) {
	table := newKernelTable(t)
	var have Rules
	for _, texts := range [][]string{{"10.244.0.0/16", "fd44::/48"}, {"10.244.1.0/24", "10.9.0.1/32"}, {"10.0.0.0/8", "fd44:0:0:1::/64"}, {}} {
		var want Rules
		for _, text := range texts {
			want.Pods = append(want.Pods, netip.MustParsePrefix(text))
		}
		want.Pods = NormalPrefixes(want.Pods)
		if err := table.Apply(t.Context(), Diff(have, want)); err != nil {
			t.Fatal(err)
		}
		have = want
		wantState(t, table, want)
	}
}

// An upgrade finds the table of a version before. One transaction makes it ours.
func TestOlderLayoutsAreMigratedInTheKernel(t *testing.T) {
	const asMap = ": goto masquerade-all"
	for file, verdict := range map[string]string{
		"layout-1.nft": "", "layout-2.nft": asMap, "layout-3.nft": asMap, "layout-4.nft": asMap, "layout-4-hooks.nft": asMap,
	} {
		t.Run(file, func(t *testing.T) { migrate(t, file, verdict) })
	}
}

func migrate(t *testing.T, file, verdict string) {
	newNamespace(t)
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	nft(t, string(text)+`
add element inet kube-ipvs owned-ipv4 { 10.1.0.10 . tcp . 30080 }
add element inet kube-ipvs masquerade-ipv4-tcp { 10.1.0.10 . 30080 `+verdict+` }`)
	table, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := generation(t)
	if wrote, err := table.Ensure(t.Context()); err != nil || !wrote {
		t.Fatalf("Ensure = %v, %v; want true, nil", wrote, err)
	}
	if now := generation(t); now != before+1 {
		t.Errorf("%d transactions", now-before)
	}
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	want := Rules{Owned: NewSet(key), Masquerade: map[frontend.Key]Masquerade{key: MasqueradeAll}}
	if strings.Contains(file, "hooks") {
		want.Sources = map[frontend.Key]*Sources{key: Nobody()}
	}
	wantState(t, table, want)
}

// The two ways to list are one: what the agent does to the kernel, and what its tests do to knftables' fake.
func TestListingAtOnceGivesWhatKnftablesGives(t *testing.T) {
	table := newKernelTable(t)
	if err := table.Replace(t.Context(), manyRules(60)); err != nil {
		t.Fatal(err)
	}
	nft(t, "add element inet kube-ipvs owned-ipv4 { 10.9.9.9 . icmp . 1 }; add chain inet kube-ipvs trace; add rule inet kube-ipvs trace accept")
	theirs, err := knftables.New(Family, Name)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	atOnce, err := listByNft(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	middle := time.Now()
	byNetlink, err := dumpOnce()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("by netlink %v", time.Since(middle).Round(time.Millisecond))
	middle = time.Now()
	oneByOne, err := listBy(theirs)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at once %v, one by one %v", middle.Sub(begin).Round(time.Millisecond), time.Since(middle).Round(time.Millisecond))
	if n := byNetlink.state(table.match); !n.Intact || !n.Rules.Equal(atOnce.state(table.match).Rules) || len(n.Stray) != 1 {
		t.Errorf("at once   %+v\nby netlink %+v", atOnce.state(table.match), n)
	}
	a, b := atOnce.state(table.match), oneByOne.state(table.match)
	if !a.Intact || !b.Intact || !a.Rules.Equal(b.Rules) || !slices.Equal(a.Stray, b.Stray) || len(a.Stray) != 1 {
		t.Errorf("at once %+v\none by one %+v", a, b)
	}
}
