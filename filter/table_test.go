package filter_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// served is a table that holds some frontends, in a fake.
func served(t *testing.T) (*filter.Table, *filtertest.Fake, filter.Rules) {
	t.Helper()
	rules := filter.Rules{
		Owned: set(t, web4, web6, dns4), Masquerade: all(t, web4, web6), Internal: set(t, dns4),
		Sources: admitting(t, office(), web4, web6), Pods: prefixes("10.244.1.0/24", "fd44:1::/64"),
	}
	fake := filtertest.New()
	table := newTable(fake)
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	return table, fake, rules
}

func newTable(fake *filtertest.Fake) *filter.Table { return filter.New(fake, filter.Options{}) }

func mustRead(t *testing.T, table *filter.Table) filter.State {
	t.Helper()
	state, err := table.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// The layout is an interface: the agent before and after an upgrade, and operators' eyes. When this test fails, raise the
// layout and add its file; those of older layouts stay, to be migrated from.
func TestTheTextOfALayoutNeverChanges(t *testing.T) {
	for file, rules := range map[string]filter.Rules{
		"layout-5.nft":       {},
		"layout-5-hooks.nft": {Sources: admitting(t, filter.Nobody(), web4), Away: true},
	} {
		fake := filtertest.New()
		if err := newTable(fake).Replace(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(fake.Dump(), "\n")); d != "" {
			t.Errorf("layout differs from testdata/%s (-want +got):\n%s", file, d)
		}
	}
}

func TestCommentsFitIntoTheKernel(t *testing.T) {
	_, fake, _ := served(t)
	for _, line := range strings.Split(fake.Dump(), "\n") {
		_, comment, found := strings.Cut(line, ` comment "`)
		comment, _, _ = strings.Cut(comment, `"`)
		if found && len(comment) > knftables.CommentLengthMax {
			t.Errorf("comment of %d bytes: %s", len(comment), comment)
		}
	}
}

func TestReadingAMissingTableIsNoError(t *testing.T) {
	state := mustRead(t, newTable(filtertest.New()))
	if state.Intact || !state.Rules.Equal(filter.Rules{}) {
		t.Errorf("state = %+v, want nothing", state)
	}
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := newTable(filtertest.New())
		first, second := drawRules(rt, "first"), drawRules(rt, "second")
		if err := table.Replace(t.Context(), first); err != nil {
			rt.Fatal(err)
		}
		if state := mustRead(t, table); !state.Intact || len(state.Stray) > 0 || !state.Rules.Equal(first) {
			rt.Fatalf("after Replace: %+v, want %v", state, first)
		}
		if err := table.Apply(t.Context(), filter.Diff(first, second)); err != nil {
			rt.Fatal(err)
		}
		if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(second) {
			rt.Fatalf("after Apply: %+v, want %v", state, second)
		}
	})
}

// What somebody else has done meanwhile does not matter, whether the elements of a change are there or not.
func TestApplyToleratesWhatIsDoneAlready(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := newTable(filtertest.New())
		believed, actual, want := drawRules(rt, "believed"), drawRules(rt, "actual"), drawRules(rt, "want")
		if err := table.Replace(t.Context(), actual); err != nil {
			rt.Fatal(err)
		}
		believed.Masquerade, believed.Sources = maps.Clone(actual.Masquerade), maps.Clone(actual.Sources) // maps refuse another verdict: see below
		change := filter.Diff(believed, want)
		if err := table.Apply(t.Context(), change); err != nil {
			rt.Fatal(err)
		}
		actual.Commit(change)
		if state := mustRead(t, table); !state.Rules.Equal(actual) {
			rt.Fatalf("table has %v, want %v", state.Rules, actual)
		}
	})
}

func TestApplyOfAnEmptyChangeRunsNothing(t *testing.T) {
	fake := filtertest.New()
	fake.SetFault(func(string) error { return errors.New("a transaction ran") })
	if err := newTable(fake).Apply(t.Context(), filter.Change{}); err != nil {
		t.Error(err)
	}
}

func TestApplyToAMissingTableIsOutOfStep(t *testing.T) {
	table, fake, rules := served(t)
	if err := fake.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, change := range []filter.Change{{AddOwned: keys(t, sig4)}, {DelOwned: keys(t, web4)}} {
		if err := table.Apply(t.Context(), change); !filter.IsOutOfStep(err) {
			t.Errorf("Apply(%v) = %v, want an error that IsOutOfStep", change, err)
		}
	}
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(rules) {
		t.Errorf("after Replace: %+v, want %v", state, rules)
	}
}

func TestReplaceLeavesNothingElse(t *testing.T) {
	table, fake, _ := served(t)
	err := fake.Foreign(t.Context(), func(tx *knftables.Transaction) {
		tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.9.9.9", "icmp", "1"}})
		tx.Add(&knftables.Chain{Name: "trace"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Replace(t.Context(), filter.Rules{Owned: set(t, sig4)}); err != nil {
		t.Fatal(err)
	}
	state := mustRead(t, table)
	if !state.Intact || len(state.Stray) > 0 || !state.Rules.Equal(filter.Rules{Owned: set(t, sig4)}) {
		t.Errorf("after Replace: %+v", state)
	}
	if strings.Contains(fake.Dump(), "trace") {
		t.Error("the chain of somebody else is still there")
	}
}

func TestInvalidKeysAreNamedAndNothingIsWritten(t *testing.T) {
	table, fake, _ := served(t)
	before := fake.Dump()
	bad := []frontend.Key{
		{Protocol: frontend.TCP, Port: 1},
		{Addr: netip.MustParseAddr("10.1.0.10"), Protocol: 1, Port: 30080},
		{Addr: netip.MustParseAddr("::ffff:10.1.0.10"), Protocol: frontend.TCP, Port: 30080},
		{Addr: netip.MustParseAddr("fe80::1%eth0"), Protocol: frontend.TCP, Port: 30080},
		{Addr: netip.MustParseAddr("10.1.0.10"), Protocol: frontend.UDP, Port: 0},
	}
	for _, key := range bad {
		good := keys(t, sig4)[0]
		for name, err := range map[string]error{
			"Apply":   table.Apply(t.Context(), filter.Change{AddOwned: []frontend.Key{good, key}}),
			"Delete":  table.Apply(t.Context(), filter.Rules{}.Complete(filter.Change{DelInternal: []frontend.Key{key}})),
			"Replace": table.Replace(t.Context(), filter.Rules{Masquerade: map[frontend.Key]filter.Masquerade{good: filter.MasqueradeAll, key: filter.MasqueradePods}}),
		} {
			if err == nil || !strings.Contains(err.Error(), key.String()) || strings.Contains(err.Error(), good.String()) {
				t.Errorf("%s with %s: error %v", name, key, err)
			}
		}
	}
	if d := cmp.Diff(before, fake.Dump()); d != "" {
		t.Errorf("the table was changed:\n%s", d)
	}
}

func TestUnknownMasqueradesAndPrefixesThatAreNoneAreNamedAndNothingIsWritten(t *testing.T) {
	table, fake, _ := served(t)
	before := fake.Dump()
	const unknown = filter.MasqueradeAll + 1
	for text, c := range map[string]filter.Change{
		"unknown all or masquerade(4)": {Masquerade: change(t, web4, filter.MasqueradeAll, unknown)},
		"unknown masquerade(4) or all": {Masquerade: change(t, web4, unknown, filter.MasqueradeAll)},
		"not a prefix":                 {Pods: []netip.Prefix{{}}, SetPods: true},
		"10.244.1.7/24 has bits":       {Pods: prefixes("10.244.1.7/24"), SetPods: true},
		"::ffff:10.244.1.0/120 is not": {Pods: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.244.1.0"), 120)}, SetPods: true},
	} {
		if err := table.Apply(t.Context(), c); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want %q", err, text)
		}
	}
	if d := cmp.Diff(before, fake.Dump()); d != "" {
		t.Errorf("the table was changed:\n%s", d)
	}
}

func TestElementsOfOthersAreReportedAndHoldNothingUp(t *testing.T) {
	table, fake, rules := served(t)
	err := fake.Foreign(t.Context(), func(tx *knftables.Transaction) {
		tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.9.9.9", "icmp", "1"}})
		tx.Add(&knftables.Element{Map: "masquerade-ipv6-udp", Key: []string{"::ffff:10.1.0.10", "30080"}, Value: []string{"goto masquerade-all"}})
		tx.Add(&knftables.Element{Map: "masquerade-ipv4-tcp", Key: []string{"10.3.0.10", "30080"}, Value: []string{"goto masquerade-all"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	state := mustRead(t, table)
	if !state.Intact || len(state.Stray) != 2 {
		t.Fatalf("state = %+v, want it intact with two stray elements", state)
	}
	for i, prefix := range []string{"masquerade-ipv6-udp: ::ffff:10.1.0.10 . 30080: ", "owned-ipv4: 10.9.9.9 . icmp . 1: "} {
		if !strings.HasPrefix(state.Stray[i], prefix) {
			t.Errorf("stray element %q, want it to begin with %q", state.Stray[i], prefix)
		}
	}
	// A frontend is one whoever wrote it: the next Diff deletes it.
	diff := filter.Diff(state.Rules, rules)
	want := change(t, "tcp://10.3.0.10:30080", filter.MasqueradeAll, filter.MasqueradeNone)
	if !slices.Equal(diff.Masquerade, want) {
		t.Errorf("change = %+v, want the masquerade of 10.3.0.10 deleted", diff)
	}
}

func TestNetworksOfPodsAreReadInOrder(t *testing.T) {
	table, fake, _ := served(t)
	err := fake.Foreign(t.Context(), func(tx *knftables.Transaction) {
		tx.Add(&knftables.Element{Set: "pods-ipv4", Key: []string{"10.9.0.0/16"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mustRead(t, table).Rules.Pods, prefixes("10.9.0.0/16", "10.244.1.0/24", "fd44:1::/64"); !slices.Equal(got, want) {
		t.Errorf("networks of pods: %v, want %v", got, want)
	}
}

func TestRemoveDeletesTheTableAndToleratesThatItIsGone(t *testing.T) {
	table, fake, _ := served(t)
	for range 2 {
		if err := table.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if dump := fake.Dump(); dump != "" {
		t.Errorf("left over:\n%s", dump)
	}
}

func TestAFailedTransactionHoldsOnlyItsOwnFrontends(t *testing.T) {
	table, fake, rules := served(t)
	fake.SetFault(filtertest.Refuse(keys(t, sig4)...))
	if err := table.Apply(t.Context(), filter.Change{AddOwned: keys(t, sig4)}); err == nil || filter.IsOutOfStep(err) {
		t.Errorf("Apply = %v, want the injected fault", err)
	}
	change := rules.Complete(filter.Change{DelInternal: keys(t, dns4)})
	if err := table.Apply(t.Context(), change); err != nil {
		t.Error(err)
	}
	rules.Commit(change)
	if state := mustRead(t, table); !state.Rules.Equal(rules) {
		t.Errorf("table has %v, want %v", state.Rules, rules)
	}
}

func TestErrorsOfNftComeBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	table, _, rules := served(t)
	cancel()
	if err := table.Apply(ctx, filter.Diff(rules, filter.Rules{})); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply = %v", err)
	}
	if err := table.Remove(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove = %v", err)
	}
}

func TestAnotherMasqueradeThanTheOneThatWasIsOutOfStep(t *testing.T) {
	for _, was := range []filter.Masquerade{filter.MasqueradeNone, filter.MasqueradePods} {
		table, fake, rules := served(t) // web4 is masqueraded for all
		before := fake.Dump()
		c := filter.Change{AddOwned: keys(t, sig4), Masquerade: change(t, web4, was, filter.MasqueradeRemote)}
		if err := table.Apply(t.Context(), c); !filter.IsOutOfStep(err) {
			t.Errorf("was %s: Apply = %v, want an error that IsOutOfStep", was, err)
		}
		if d := cmp.Diff(before, fake.Dump()); d != "" {
			t.Errorf("was %s: the table was changed:\n%s", was, d)
		}
		rules.Commit(c)
		if err := table.Replace(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
		if state := mustRead(t, table); !state.Rules.Equal(rules) {
			t.Errorf("was %s: table has %v, want %v", was, state.Rules, rules)
		}
	}
}

func TestPodsAreToldByTheirInterfaceIfThereIsOne(t *testing.T) {
	_, fake, rules := served(t)
	byInterface := filter.New(fake, filter.Options{PodInterface: "cali*"})
	if state := mustRead(t, byInterface); state.Intact || !state.Rules.Equal(rules) {
		t.Errorf("a table that tells pods by address is %+v to one that tells them by interface", state)
	}
	if wrote, err := byInterface.Ensure(t.Context()); !wrote || err != nil {
		t.Fatalf("Ensure = %v, %v; want true, nil", wrote, err)
	}
	if state := mustRead(t, byInterface); !state.Intact || !state.Rules.Equal(rules) {
		t.Errorf("after Ensure: %+v", state)
	}
	for _, want := range []string{`iifname "cali*" masquerade fully-random`, `oifname != "cali*" masquerade fully-random`, `iifname "cali*" return`} {
		if strings.Count(fake.Dump(), want) != 2 {
			t.Errorf("not in two rules, one for each family: %s", want)
		}
	}
	if strings.Contains(fake.Dump(), "@pods-") {
		t.Error("a rule looks at the addresses of pods")
	}
}

func TestAnInterfaceThatIsNoneIsRefused(t *testing.T) {
	for _, name := range []string{"cni0", "cali*", "veth", "eth0.100", "a-b_c@d"} {
		if err := (filter.Options{PodInterface: name}).Validate(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{`a"; drop; #`, "a b", "*", "sixteen-letters-", "fifteen-letters*", "c*li", "a/b"} {
		if err := (filter.Options{PodInterface: name}).Validate(); err == nil || !strings.Contains(err.Error(), "not the name of an interface") {
			t.Errorf("%q: error %v", name, err)
		}
	}
}

// An agent of a version before left its table: what it owned and masqueraded is taken over.
func TestOlderLayoutsAreMigrated(t *testing.T) {
	asSet := knftables.Element{Set: "masquerade-ipv4-tcp", Key: []string{"10.1.0.10", "30080"}}
	asMap := knftables.Element{Map: asSet.Set, Key: asSet.Key, Value: []string{"goto masquerade-all"}}
	for file, masqueraded := range map[string]*knftables.Element{
		"layout-1.nft": &asSet, "layout-2.nft": &asMap, "layout-3.nft": &asMap, "layout-4.nft": &asMap, "layout-4-hooks.nft": &asMap,
	} {
		t.Run(file, func(t *testing.T) { migrate(t, file, masqueraded) })
	}
}

func migrate(t *testing.T, file string, masqueraded *knftables.Element) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	fake := filtertest.New()
	dump := strings.ReplaceAll(string(text), `iifname "lo"`, `iifname lo`) // knftables reads no quotes but those of comments
	if err := fake.ParseDump(dump); err != nil {
		t.Fatal(err)
	}
	err = fake.Foreign(t.Context(), func(tx *knftables.Transaction) {
		tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.1.0.10", "tcp", "30080"}})
		tx.Add(&knftables.Element{Set: "owned-ipv6", Key: []string{"fd01::10", "tcp", "30080"}})
		tx.Add(masqueraded)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := filter.Rules{Owned: set(t, web4, web6), Masquerade: all(t, web4)}
	if strings.Contains(file, "hooks") {
		want.Sources = admitting(t, filter.Nobody(), web4)
	}
	table := newTable(fake)
	if state := mustRead(t, table); state.Intact || !state.Present || len(state.Stray) > 0 || !state.Rules.Equal(want) {
		t.Errorf("before: %+v, want %v", state, want)
	}
	if wrote, err := table.Ensure(t.Context()); !wrote || err != nil {
		t.Fatalf("Ensure = %v, %v; want true, nil", wrote, err)
	}
	if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(want) {
		t.Errorf("after: %+v, want %v", state, want)
	}
}
