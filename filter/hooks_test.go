package filter_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
)

func TestOnlyWhatRestrictsClientsNeedsHooks(t *testing.T) {
	for name, test := range map[string]struct {
		rules filter.Rules
		want  filter.Hooks
	}{
		"nothing": {},
		"frontends for everybody, masqueraded": {
			rules: filter.Rules{Owned: set(t, web4, web6), Masquerade: all(t, web4, web6), Pods: prefixes("10.244.1.0/24")},
		},
		"an internal one":              {rules: filter.Rules{Internal: set(t, web4)}, want: filter.Hooks{Input: true}},
		"one for some clients":         {rules: filter.Rules{Sources: admitting(t, office(), web4)}, want: filter.Hooks{Input: true, Output: true}},
		"an address that is away":      {rules: filter.Rules{Owned: set(t, web4), Away: true}, want: filter.Hooks{Forward: true}},
		"both of them":                 {rules: filter.Rules{Internal: set(t, web4), Sources: admitting(t, office(), web6)}, want: filter.Hooks{Input: true, Output: true}},
		"one that is both, and others": {rules: filter.Rules{Owned: set(t, web4, web6), Internal: set(t, web4), Sources: admitting(t, office(), web4)}, want: filter.Hooks{Input: true, Output: true}},
	} {
		fake := filtertest.New()
		if err := newTable(fake).Replace(t.Context(), test.rules); err != nil {
			t.Fatal(err)
		}
		if got := hooked(fake); got != test.want || test.rules.Hooks() != test.want {
			t.Errorf("%s: hooks %+v, and %+v in the table; want %+v", name, test.rules.Hooks(), got, test.want)
		}
	}
}

// hooked are the hooks that a table has. Postrouting is not one of them, it is there always.
func hooked(fake *filtertest.Fake) filter.Hooks {
	has := func(hook string) bool { return strings.Contains(fake.Dump(), "{ type filter hook "+hook+" ") }
	return filter.Hooks{Input: has("input"), Output: has("output"), Forward: has("forward")}
}

// The hooks come with the first frontend that needs them and go with the last, in the transaction about it.
func TestHooksComeAndGoWithTheFrontendsThatNeedThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fake := filtertest.New()
		table := newTable(fake)
		have := drawRules(t, "0")
		if err := table.Replace(t.Context(), have); err != nil {
			t.Fatal(err)
		}
		for _, label := range []string{"1", "2", "3", "4"} {
			want := drawRules(t, label)
			if rapid.Bool().Draw(t, label+" without internal ones") {
				want.Internal = nil
			}
			if rapid.Bool().Draw(t, label+" without lists") {
				want.Sources = nil
			}
			if err := table.Apply(t.Context(), filter.Diff(have, want)); err != nil {
				t.Fatal(err)
			}
			have = want
			if got := hooked(fake); got != want.Hooks() {
				t.Fatalf("%s: the table has hooks %+v, want %+v", label, got, want.Hooks())
			}
			state, err := table.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !state.Intact || !state.Rules.Equal(want) {
				t.Fatalf("%s: there is %+v, want %+v", label, state, want)
			}
		}
	})
}

// An agent that finds a hook missing, or one more, does not know who was let in, or why packets are slow: it makes the table anew.
func TestATableWithOtherHooksThanItsFrontendsNeedIsNotIntact(t *testing.T) {
	internal := filter.Rules{Owned: set(t, web4), Internal: set(t, web4)}
	open := filter.Rules{Owned: set(t, web4)}
	for name, test := range map[string]struct {
		rules filter.Rules
		by    func(tx *knftables.Transaction)
	}{
		"input is missing":    {internal, func(tx *knftables.Transaction) { tx.Delete(&knftables.Chain{Name: "input"}) }},
		"input has no rules":  {internal, func(tx *knftables.Transaction) { tx.Flush(&knftables.Chain{Name: "input"}) }},
		"input is too much":   {open, func(tx *knftables.Transaction) { tx.Add(&knftables.Chain{Name: "input"}) }},
		"output is too much":  {internal, func(tx *knftables.Transaction) { tx.Add(&knftables.Chain{Name: "output"}) }},
		"nobody needs it now": {internal, func(tx *knftables.Transaction) { tx.Flush(&knftables.Set{Name: "internal-ipv4"}) }},
	} {
		fake := filtertest.New()
		table := newTable(fake)
		if err := table.Replace(t.Context(), test.rules); err != nil {
			t.Fatal(err)
		}
		if err := fake.Foreign(t.Context(), test.by); err != nil {
			t.Fatal(err)
		}
		state := mustRead(t, table)
		if state.Intact {
			t.Errorf("%s: the table is intact", name)
		}
		if wrote, err := table.Ensure(t.Context()); !wrote || err != nil {
			t.Fatalf("%s: Ensure = %v, %v; want true, nil", name, wrote, err)
		}
		if got := mustRead(t, table); !got.Intact || !got.Rules.Equal(state.Rules) || hooked(fake) != state.Rules.Hooks() {
			t.Errorf("%s: after Ensure there is %+v with hooks %+v", name, got, hooked(fake))
		}
	}
}

func TestAChangeOfWhoMayConnectIsRefusedWithoutItsHooks(t *testing.T) {
	for name, c := range map[string]filter.Change{
		"an internal frontend":      {AddInternal: keys(t, web4)},
		"one that is none any more": {DelInternal: keys(t, web4)},
		"a list, with its lists":    {Sources: []filter.SourcesChange{{Key: keys(t, web4)[0], Is: office()}}, Lists: &filter.ListsChange{Add: []*filter.Sources{office()}}},
	} {
		table, fake, _ := served(t)
		before := fake.Dump()
		err := table.Apply(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "without its hooks") || fake.Dump() != before {
			t.Errorf("%s: Apply = %v, want it refused and nothing written", name, err)
		}
	}
}

// What a change deletes that is not there does not count: the others need their hook.
func TestHooksStayForThoseThatAChangeDoesNotKnow(t *testing.T) {
	rules := filter.Rules{Internal: set(t, web4), Sources: admitting(t, office(), web4)}
	c := rules.Complete(filter.Change{
		DelInternal: keys(t, web6, dns4, web6), Sources: []filter.SourcesChange{{Key: keys(t, web6)[0], Was: office()}},
	})
	both := filter.Hooks{Input: true, Output: true}
	if c.Hooks == nil || *c.Hooks != (filter.HooksChange{Was: both, Is: both}) {
		t.Errorf("hooks %+v, want both before and after", c.Hooks)
	}
}

// After a transaction that was carried out although nobody was told, hooks are not what they are remembered to be.
func TestARestrictionBringsItsHooksWhateverIsRememberedOfThem(t *testing.T) {
	remembered := filter.Rules{Internal: filter.Set{}, Sources: admitting(t, filter.Nobody(), web6)}
	remembered.Internal[keys(t, web6)[0]] = struct{}{}
	for name, c := range map[string]filter.Change{
		"a list":               {Sources: []filter.SourcesChange{{Key: keys(t, web4)[0], Is: everybody4()}}},
		"an internal frontend": {AddInternal: keys(t, web4)},
	} {
		t.Run(name, func(t *testing.T) {
			fake := filtertest.New()
			table := newTable(fake)
			if err := table.Replace(t.Context(), filter.Rules{}); err != nil {
				t.Fatal(err)
			}
			if err := table.Apply(t.Context(), remembered.Complete(c)); err != nil {
				t.Fatal(err)
			}
			if got := hooked(fake); got != remembered.Hooks() {
				t.Errorf("it is in force, and there are hooks %+v", got)
			}
		})
	}
}
