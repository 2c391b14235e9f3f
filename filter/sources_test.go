package filter_test

import (
	"fmt"
	"net/netip"
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

func TestAListIsNamedByItsContent(t *testing.T) {
	s := filter.NewSources(prefixes("fd00::/8", "10.1.2.3/8", "10.2.0.0/16", "10.0.0.0/8"), prefixes("10.9.0.0/16"))
	if got, want := s.String(), "allow 10.0.0.0/8 fd00::/8 deny 10.9.0.0/16"; got != want {
		t.Errorf("the list is %q, want %q", got, want)
	}
	// The ID stands in the kernel, where the next version of the agent reads it: it never changes.
	if got, want := s.ID(), "8d4c13f1bf9e9017e0a0851a73532110"; got != want {
		t.Errorf("its ID is %s, want %s", got, want)
	}
	if !s.Equal(office()) || !slices.Equal(s.Allow(), prefixes("10.0.0.0/8", "fd00::/8")) || !slices.Equal(s.Deny(), prefixes("10.9.0.0/16")) {
		t.Errorf("allows %v, denies %v", s.Allow(), s.Deny())
	}
	for name, other := range map[string]*filter.Sources{
		"the other way around": filter.NewSources(s.Deny(), s.Allow()),
		"allowed only":         filter.NewSources(s.Allow(), nil),
		"all allowed":          filter.NewSources(append(s.Allow(), s.Deny()...), nil),
		"nobody":               filter.Nobody(),
		"everybody":            nil,
	} {
		if s.Equal(other) || other.Equal(s) {
			t.Errorf("%s is the same", name)
		}
	}
}

func TestNoPrefixesAreNoList(t *testing.T) {
	s := filter.NewSources(nil, []netip.Prefix{})
	if s != nil || s.ID() != "" || s.Allow() != nil || s.Deny() != nil || s.String() != "" || !s.Equal(nil) {
		t.Errorf("%v is a list", s)
	}
}

// A change of a list is one of the frontends with it, so who changes what NewSources was given, or what it gave, changes none.
func TestAListNeverChanges(t *testing.T) {
	allow := prefixes("10.0.0.0/8")
	s := filter.NewSources(allow, nil)
	allow[0], s.Allow()[0] = netip.Prefix{}, netip.Prefix{}
	if want := prefixes("10.0.0.0/8"); !slices.Equal(s.Allow(), want) {
		t.Errorf("allows %v, want %v", s.Allow(), want)
	}
}

func TestAListStandsInTheTableOnceAndGoesWithItsLastFrontend(t *testing.T) {
	fake := filtertest.New()
	table := newTable(fake)
	var have filter.Rules
	step := func(want filter.Rules, counts map[string]int) {
		t.Helper()
		if err := table.Apply(t.Context(), filter.Diff(have, want)); err != nil {
			t.Fatal(err)
		}
		have = want
		for text, n := range counts {
			if got := strings.Count(fake.Dump(), text); got != n {
				t.Errorf("%d times in the table, want %d: %s\n%s", got, n, text, fake.Dump())
			}
		}
		if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(want) {
			t.Errorf("read back: %+v", state)
		}
	}
	if _, err := table.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	empty := fake.Dump()
	id := office().ID()
	step(filter.Rules{Sources: admitting(t, office(), web4)}, map[string]int{"add chain inet kube-ipvs sources-" + id: 1, ": jump sources-" + id: 1})
	step(filter.Rules{Sources: admitting(t, office(), web4, web6, dns4)}, map[string]int{"add chain inet kube-ipvs sources-" + id: 1, ": jump sources-" + id: 3})
	step(filter.Rules{Sources: admitting(t, filter.Nobody(), web4, dns4)}, map[string]int{id: 0, "add chain inet kube-ipvs sources-" + filter.Nobody().ID(): 1})
	step(filter.Rules{}, nil)
	if d := cmp.Diff(empty, fake.Dump()); d != "" {
		t.Errorf("left behind (-before +after):\n%s", d)
	}
}

// What somebody left under the names of a list is no part of it: a network too many would open its frontends.
func TestAListIsMadeAnewWhateverStandsUnderItsNames(t *testing.T) {
	fake := filtertest.New()
	table := newTable(fake)
	if _, err := table.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := office().ID()
	if err := fake.Foreign(t.Context(), func(tx *knftables.Transaction) {
		tx.Add(&knftables.Set{Name: "allow-" + id + "-ipv4", Type: "ipv4_addr", Flags: []knftables.SetFlag{knftables.IntervalFlag}})
		tx.Add(&knftables.Element{Set: "allow-" + id + "-ipv4", Key: []string{"172.16.0.0/12"}})
		tx.Add(&knftables.Chain{Name: "sources-" + id})
		tx.Add(&knftables.Rule{Chain: "sources-" + id, Rule: "accept"})
	}); err != nil {
		t.Fatal(err)
	}
	want := filter.Rules{Sources: admitting(t, office(), web4)}
	if err := table.Apply(t.Context(), filter.Diff(filter.Rules{}, want)); err != nil {
		t.Fatal(err)
	}
	if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(want) {
		t.Errorf("read back: %+v\n%s", state, fake.Dump())
	}
}

// No packet may find a frontend without its list.
func TestAnotherListIsThereBeforeAFrontendGetsItAndTheOldOneGoesAfterwards(t *testing.T) {
	table, fake, rules := served(t)
	var transactions []string
	fake.SetFault(func(transaction string) error {
		transactions = append(transactions, transaction)
		return nil
	})
	want := rules.Clone()
	want.Sources = admitting(t, filter.Nobody(), web4, web6)
	if err := table.Apply(t.Context(), filter.Diff(rules, want)); err != nil {
		t.Fatal(err)
	}
	if len(transactions) != 3 {
		t.Fatalf("%d transactions, want three", len(transactions))
	}
	if elements := transactions[1]; strings.Contains(elements, "add chain inet kube-ipvs sources-") || strings.Contains(elements, "add set") {
		t.Errorf("a list is made in the transaction that points to it:\n%s", elements)
	}
	all := strings.Join(transactions, "\n")
	after := -1
	for _, text := range []string{
		"add element inet kube-ipvs deny-" + filter.Nobody().ID() + "-ipv4 { 0.0.0.0/0 }",
		"delete element inet kube-ipvs sources-ipv4 { 10.1.0.10 . tcp . 30080",
		"add element inet kube-ipvs sources-ipv4 { 10.1.0.10 . tcp . 30080 : jump sources-" + filter.Nobody().ID() + " }",
		"delete chain inet kube-ipvs sources-" + office().ID(),
		"delete set inet kube-ipvs allow-" + office().ID() + "-ipv6",
	} {
		at := strings.Index(all, text)
		if at <= after {
			t.Errorf("missing, or before its time: %s\n%s", text, all)
		}
		after = at
	}
}

func TestTheRulesOfAList(t *testing.T) {
	tests := []struct {
		name        string
		allow, deny []netip.Prefix
		want        []string // the rules, without the list's ID
	}{
		{
			name: "denied, then allowed, then nobody", allow: prefixes("10.0.0.0/8", "fd00::/8"), deny: prefixes("10.9.0.0/16", "fd09::/16"),
			want: []string{
				"ip saddr @deny--ipv4 drop", "ip6 saddr @deny--ipv6 drop", "ip saddr @allow--ipv4 return", "ip6 saddr @allow--ipv6 return", "drop",
			},
		},
		{name: "what is not denied is allowed, if nothing is", deny: prefixes("10.9.0.0/16"), want: []string{"ip saddr @deny--ipv4 drop"}},
		{name: "one family allowed drops the other", allow: prefixes("10.0.0.0/8"), want: []string{"ip saddr @allow--ipv4 return", "drop"}},
		{
			name: "everybody of a family", allow: prefixes("::/0"), deny: prefixes("fd09::/16"),
			want: []string{"ip6 saddr @deny--ipv6 drop", "ip6 saddr @allow--ipv6 return", "drop"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fake := filtertest.New()
			s := filter.NewSources(test.allow, test.deny)
			if err := newTable(fake).Replace(t.Context(), filter.Rules{Sources: admitting(t, s, web4)}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(fake.Dump()) {
				if rule, found := strings.CutPrefix(line, "add rule inet kube-ipvs sources-"+s.ID()+" "); found {
					rule, _, _ = strings.Cut(rule, " comment")
					got = append(got, strings.ReplaceAll(rule, s.ID(), ""))
				}
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("rules differ (-want +got):\n%s", d)
			}
		})
	}
}

// Of a list that is not as it was written, its frontends keep what can be told for sure, or are closed.
func TestADamagedListIsKeptOrClosedAndMended(t *testing.T) {
	id := office().ID()
	chain := &knftables.Chain{Name: "sources-" + id}
	point := func(tx *knftables.Transaction, verdict string) {
		e := &knftables.Element{Map: "sources-ipv4", Key: []string{"10.1.0.10", "tcp", "30080"}, Value: []string{verdict}}
		tx.Delete(e)
		tx.Add(e)
	}
	tests := []struct {
		name   string
		damage func(tx *knftables.Transaction)
		closed []string
		stray  string
	}{
		{name: "without rules", damage: func(tx *knftables.Transaction) { tx.Flush(chain) }},
		{name: "with a rule of somebody", damage: func(tx *knftables.Transaction) {
			tx.Insert(&knftables.Rule{Chain: chain.Name, Rule: "accept"})
		}},
		{name: "with a set too many", damage: func(tx *knftables.Transaction) {
			tx.Add(&knftables.Set{Name: "deny-" + id + "-ipv6", Type: "ipv6_addr"})
		}},
		{name: "and one that is nobody's", damage: func(tx *knftables.Transaction) {
			tx.Add(&knftables.Chain{Name: "sources-" + strings.Repeat("0", 32)})
		}},
		{name: "and the set of one that is nobody's", damage: func(tx *knftables.Transaction) {
			tx.Add(&knftables.Set{Name: "allow-" + strings.Repeat("0", 32) + "-ipv4", Type: "ipv4_addr"})
		}},
		{name: "and a whole one that is nobody's", damage: func(tx *knftables.Transaction) {
			tx.Add(&knftables.Set{Name: "allow-" + everybody4().ID() + "-ipv4", Type: "ipv4_addr"})
			tx.Add(&knftables.Element{Set: "allow-" + everybody4().ID() + "-ipv4", Key: []string{"0.0.0.0/0"}})
			tx.Add(&knftables.Chain{Name: "sources-" + everybody4().ID()})
			tx.Add(&knftables.Rule{Chain: "sources-" + everybody4().ID(), Rule: "return", Comment: knftables.PtrTo("layout 3, allowed, ipv4")})
			tx.Add(&knftables.Rule{Chain: "sources-" + everybody4().ID(), Rule: "drop", Comment: knftables.PtrTo("layout 3, everybody else")})
		}},
		{name: "with another prefix", closed: []string{web4, web6}, damage: func(tx *knftables.Transaction) {
			tx.Add(&knftables.Element{Set: "allow-" + id + "-ipv4", Key: []string{"172.16.0.0/12"}})
		}},
		{name: "with one less", closed: []string{web4, web6}, damage: func(tx *knftables.Transaction) { tx.Flush(&knftables.Set{Name: "deny-" + id + "-ipv4"}) }},
		{name: "with what is none", closed: []string{web4, web6}, stray: "bits behind its length", damage: func(tx *knftables.Transaction) {
			tx.Flush(&knftables.Set{Name: "deny-" + id + "-ipv4"})
			tx.Add(&knftables.Element{Set: "deny-" + id + "-ipv4", Key: []string{"10.9.0.1/16"}})
		}},
		{name: "without a set", closed: []string{web4, web6}, damage: func(tx *knftables.Transaction) { tx.Delete(&knftables.Set{Name: "deny-" + id + "-ipv4"}) }},
		{name: "that a frontend does not go to", closed: []string{web4}, damage: func(tx *knftables.Transaction) { point(tx, "accept") }},
		{name: "that a frontend does not come back from", closed: []string{web4}, damage: func(tx *knftables.Transaction) { point(tx, "goto "+chain.Name) }},
		{name: "in place of which stands another's chain", closed: []string{web4}, damage: func(tx *knftables.Transaction) {
			tx.Add(&knftables.Chain{Name: "trace"})
			point(tx, "jump trace")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, fake, want := served(t)
			if err := fake.Foreign(t.Context(), test.damage); err != nil {
				t.Fatal(err)
			}
			for _, key := range keys(t, test.closed...) {
				want.Sources[key] = filter.Nobody()
			}
			state := mustRead(t, table)
			if state.Intact || !state.Rules.Equal(want) || !strings.Contains(strings.Join(state.Stray, "\n"), test.stray) {
				t.Errorf("read %+v, want %v and not intact", state, want)
			}
			if wrote, err := table.Ensure(t.Context()); err != nil || !wrote {
				t.Fatalf("Ensure = %v, %v; want true, nil", wrote, err)
			}
			if state := mustRead(t, table); !state.Intact || len(state.Stray) > 0 || !state.Rules.Equal(want) {
				t.Errorf("after Ensure: %+v, want intact with %v", state, want)
			}
		})
	}
}

func everybody4() *filter.Sources { return filter.NewSources(prefixes("0.0.0.0/0"), nil) }

func TestAnotherListThanTheOneThatWasIsOutOfStep(t *testing.T) {
	for name, have := range map[string]filter.Rules{
		"none was":                {},
		"another one was":         {Sources: admitting(t, everybody4(), web4)},
		"nobody else had the one": {Sources: admitting(t, office(), web4)},
	} {
		t.Run(name, func(t *testing.T) {
			table, fake, rules := served(t) // office for web4 and web6
			before := fake.Dump()
			c := filter.Diff(have, filter.Rules{Sources: admitting(t, filter.Nobody(), web4)})
			if err := table.Apply(t.Context(), c); !filter.IsOutOfStep(err) {
				t.Errorf("Apply = %v, want an error that IsOutOfStep", err)
			}
			if d := cmp.Diff(before, fake.Dump()); d != "" && name != "nobody else had the one" { // that is found out last
				t.Errorf("the table was changed:\n%s", d)
			}
			rules.Commit(c)
			if err := table.Replace(t.Context(), rules); err != nil {
				t.Fatal(err)
			}
			if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(rules) {
				t.Errorf("table has %v, want %v", state.Rules, rules)
			}
		})
	}
}

func TestAChangeOfSourcesIsRefusedUntilItIsComplete(t *testing.T) {
	table, fake, rules := served(t)
	before := fake.Dump()
	c := filter.Change{Sources: []filter.SourcesChange{{Key: keys(t, dns4)[0], Is: filter.Nobody()}}}
	if err := table.Apply(t.Context(), c); err == nil || !strings.Contains(err.Error(), "Complete was not called") {
		t.Errorf("error %v", err)
	}
	if d := cmp.Diff(before, fake.Dump()); d != "" {
		t.Errorf("the table was changed:\n%s", d)
	}
	c = rules.Complete(c)
	if err := table.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	rules.Commit(c)
	if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(rules) {
		t.Errorf("table has %v, want %v", state.Rules, rules)
	}
}

func TestACompleteChangeIsTheOneThatDiffGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawRules(t, "have"), drawRules(t, "want")
		diff := filter.Diff(have, want)
		byHand := diff
		byHand.Lists = &filter.ListsChange{Add: lists(office())} // of some other time
		if d := cmp.Diff(diff.Lists, have.Complete(byHand).Lists); d != "" {
			t.Fatalf("lists differ (-Diff +Complete):\n%s", d)
		}
	})
}

func TestListsOfWhatIsNoPrefixAreNamedAndNothingIsWritten(t *testing.T) {
	table, fake, _ := served(t)
	before := fake.Dump()
	mapped := []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.1.0.0"), 120)}
	for text, s := range map[string]*filter.Sources{
		"not a prefix":                 filter.NewSources([]netip.Prefix{{}}, nil),
		"::ffff:10.1.0.0/120 is not":   filter.NewSources(prefixes("10.0.0.0/8"), mapped),
		"::ffff:10.1.0.0/120":          filter.NewSources(prefixes("::/0"), slices.Concat(mapped, prefixes("::/0"))), // one within the other
		"that NewSources did not make": {},
	} {
		rules := filter.Rules{Sources: map[frontend.Key]*filter.Sources{keys(t, dns4)[0]: s}}
		for name, err := range map[string]error{
			"Apply":   table.Apply(t.Context(), filter.Diff(filter.Rules{}, rules)),
			"Delete":  table.Apply(t.Context(), filter.Diff(rules, filter.Rules{})),
			"Replace": table.Replace(t.Context(), rules),
		} {
			if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), dns4) {
				t.Errorf("%s: error %v, want %s and %q", name, err, dns4, text)
			}
		}
	}
	if d := cmp.Diff(before, fake.Dump()); d != "" {
		t.Errorf("the table was changed:\n%s", d)
	}
}

func TestBothListsAdmitWhomEachAdmits(t *testing.T) {
	list := func(allow, deny []netip.Prefix) *filter.Sources { return filter.NewSources(allow, deny) }
	for _, c := range []struct {
		a, b *filter.Sources
		want string
	}{
		{nil, nil, ""},
		{nil, list(prefixes("10.0.0.0/8"), nil), "allow 10.0.0.0/8"},
		{list(prefixes("10.0.0.0/8"), nil), list(prefixes("10.0.0.0/8"), nil), "allow 10.0.0.0/8"},
		{list(prefixes("10.0.0.0/8", "fd00::/8"), nil), list(prefixes("10.1.0.0/16", "10.3.0.0/16", "192.0.2.0/24"), nil), "allow 10.1.0.0/16 10.3.0.0/16"},
		{list(prefixes("10.0.0.0/8"), nil), list(prefixes("10.0.0.0/8", "192.0.2.0/24"), nil), "allow 10.0.0.0/8"},
		{list(prefixes("10.0.0.0/8"), nil), list(prefixes("192.0.2.0/24"), nil), filter.Nobody().String()},
		{list(prefixes("10.0.0.0/8"), nil), filter.Nobody(), filter.Nobody().String()},
		{list(prefixes("10.0.0.0/8"), nil), list(nil, prefixes("10.1.0.0/16")), "allow 10.0.0.0/8 deny 10.1.0.0/16"},
		{list(nil, prefixes("10.2.0.0/16")), list(nil, prefixes("10.1.0.0/16")), "deny 10.1.0.0/16 10.2.0.0/16"},
	} {
		for _, got := range []*filter.Sources{c.a.Both(c.b), c.b.Both(c.a)} {
			if got.String() != c.want {
				t.Errorf("%q and %q: %q, want %q", c.a, c.b, got, c.want)
			}
		}
	}
}

// Random changes of a few frontends and lists: what Complete says is what a look at everything says.
func TestListsOfAChangeAreThoseThatComeAndGo(t *testing.T) {
	lists := []*filter.Sources{nil, office(), filter.Nobody(), filter.NewSources(prefixes("192.0.2.0/24"), nil), filter.NewSources(nil, prefixes("192.0.2.0/24"))}
	ids := func(r filter.Rules) map[string]bool {
		all := map[string]bool{}
		for _, s := range r.Sources {
			all[s.ID()] = true
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *filter.Sources { return rapid.SampledFrom(lists).Draw(t, name) }
		have := filter.Rules{Sources: map[frontend.Key]*filter.Sources{}}
		var c filter.Change
		for port := range uint16(6) {
			key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30000+port)
			was := draw("was")
			if was != nil {
				have.Sources[key] = was
			}
			if rapid.Bool().Draw(t, "changes") {
				c.Sources = append(c.Sources, filter.SourcesChange{Key: key, Was: was, Is: draw("is")})
			}
		}
		if len(c.Sources) == 0 {
			return
		}
		c = have.Complete(c)
		before := ids(have)
		after := have.Clone()
		after.Commit(c)
		has := before
		for _, s := range c.Lists.Add {
			if has[s.ID()] {
				t.Errorf("%q is made, and is there", s)
			}
			has[s.ID()] = true
		}
		for _, s := range c.Lists.Del {
			delete(has, s.ID())
		}
		if diff := cmp.Diff(ids(after), has); diff != "" {
			t.Errorf("lists (-needed +there):\n%s", diff)
		}
	})
}

// One change of one list beside so many frontends with lists of their own.
func BenchmarkCompleteOneChange(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		r := filter.Rules{Sources: map[frontend.Key]*filter.Sources{}}
		key := func(i int) frontend.Key {
			return frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, uint16(1+i))
		}
		for i := range n {
			r.Sources[key(i)] = filter.NewSources([]netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24)}, nil)
		}
		c := filter.Change{Sources: []filter.SourcesChange{{Key: key(0), Was: r.Sources[key(0)], Is: filter.Nobody()}}}
		b.Run(fmt.Sprintf("%d lists", n), func(b *testing.B) {
			for b.Loop() {
				r.Complete(c)
			}
		})
	}
}
