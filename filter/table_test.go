package filter_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
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
	rules := filter.Rules{Owned: set(t, web4, web6, dns4), Masquerade: set(t, web4, web6)}
	fake := filtertest.New()
	table := filter.New(fake)
	if err := table.Replace(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	return table, fake, rules
}

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
	fake := filtertest.New()
	if _, err := filter.New(fake).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/layout-1.nft")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(fake.Dump(), "\n")); d != "" {
		t.Errorf("layout differs from testdata/layout-1.nft (-want +got):\n%s", d)
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
	state := mustRead(t, filter.New(filtertest.New()))
	if state.Intact || !state.Rules.Equal(filter.Rules{}) {
		t.Errorf("state = %+v, want nothing", state)
	}
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := filter.New(filtertest.New())
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
		table := filter.New(filtertest.New())
		believed, actual, want := drawRules(rt, "believed"), drawRules(rt, "actual"), drawRules(rt, "want")
		if err := table.Replace(t.Context(), actual); err != nil {
			rt.Fatal(err)
		}
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
	if err := filter.New(fake).Apply(t.Context(), filter.Change{}); err != nil {
		t.Error(err)
	}
}

func TestApplyToAMissingTableSaysSoAndWritesNothing(t *testing.T) {
	table, fake, rules := served(t)
	if err := fake.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, change := range []filter.Change{{AddOwned: keys(t, sig4)}, {DelOwned: keys(t, web4)}} {
		if err := table.Apply(t.Context(), change); !filter.IsMissing(err) {
			t.Errorf("Apply(%v) = %v, want an error that IsMissing", change, err)
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
			"Delete":  table.Apply(t.Context(), filter.Change{DelMasquerade: []frontend.Key{key}}),
			"Replace": table.Replace(t.Context(), filter.Rules{Masquerade: filter.NewSet(good, key)}),
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

func TestElementsOfOthersAreReportedAndHoldNothingUp(t *testing.T) {
	table, fake, rules := served(t)
	err := fake.Foreign(t.Context(), func(tx *knftables.Transaction) {
		tx.Add(&knftables.Element{Set: "owned-ipv4", Key: []string{"10.9.9.9", "icmp", "1"}})
		tx.Add(&knftables.Element{Set: "masquerade-ipv6-udp", Key: []string{"::ffff:10.1.0.10", "30080"}})
		tx.Add(&knftables.Element{Set: "masquerade-ipv4-tcp", Key: []string{"10.3.0.10", "30080"}})
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
	change := filter.Diff(state.Rules, rules)
	if len(change.DelMasquerade) != 1 || change.DelMasquerade[0] != keys(t, "tcp://10.3.0.10:30080")[0] {
		t.Errorf("change = %+v, want the masquerade of 10.3.0.10 deleted", change)
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
	if err := table.Apply(t.Context(), filter.Change{AddOwned: keys(t, sig4)}); err == nil || filter.IsMissing(err) {
		t.Errorf("Apply = %v, want the injected fault", err)
	}
	change := filter.Change{DelMasquerade: keys(t, web4)}
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
