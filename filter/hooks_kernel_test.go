//go:build kernel

package filter

import (
	"context"
	"strings"
	"testing"
)

// wantHooked compares the chains at hooks with those that are to be there.
func wantHooked(t *testing.T, what string, want Hooks) {
	t.Helper()
	listed := ruleset(t)
	got := Hooks{Input: strings.Contains(listed, "hook input"), Output: strings.Contains(listed, "hook output"), Forward: strings.Contains(listed, "hook forward")}
	if got != want || !strings.Contains(listed, "type nat hook postrouting") {
		t.Errorf("%s: the kernel has hooks %+v, want %+v and postrouting:\n%s", what, got, want, listed)
	}
}

func TestTheKernelHasTheHooksThatFrontendsNeed(t *testing.T) {
	table := newKernelTable(t)
	ipv4, ipv6 := twoFrontends()
	some := NewSources(parsePrefixes("10.0.0.0/8"), nil)
	empty := ruleset(t)
	wantHooked(t, "an empty table", Hooks{})
	var have Rules
	for _, step := range []struct {
		what  string
		want  Rules
		hooks Hooks
	}{
		{"frontends for everybody", Rules{Owned: NewSet(ipv4, ipv6)}, Hooks{}},
		{"an internal one", Rules{Internal: NewSet(ipv4)}, Hooks{Input: true}},
		{"another one", Rules{Internal: NewSet(ipv4, ipv6)}, Hooks{Input: true}},
		{"one of them has a list", Rules{Internal: NewSet(ipv4), Sources: sourcesOf(some, ipv6).Sources}, Hooks{Input: true, Output: true}},
		{"the list alone", sourcesOf(some, ipv6), Hooks{Input: true, Output: true}},
		{"the internal one alone", Rules{Internal: NewSet(ipv4)}, Hooks{Input: true}},
		{"nothing", Rules{}, Hooks{}},
		{"a list from the start", sourcesOf(Nobody(), ipv4), Hooks{Input: true, Output: true}},
		{"nothing again", Rules{}, Hooks{}},
		{"an address away", Rules{Owned: NewSet(ipv4), Away: true}, Hooks{Forward: true}},
		{"a list besides", Rules{Sources: sourcesOf(some, ipv6).Sources, Away: true}, Hooks{Input: true, Output: true, Forward: true}},
		{"the address back", sourcesOf(some, ipv6), Hooks{Input: true, Output: true}},
		{"nothing in the end", Rules{}, Hooks{}},
	} {
		change := Diff(have, step.want)
		before := generation(t)
		if err := table.Apply(t.Context(), change); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if now := generation(t); now != before+transactions(change) {
			t.Errorf("%s: %d transactions, want %d", step.what, now-before, transactions(change))
		}
		have = step.want
		wantHooked(t, step.what, step.hooks)
		wantState(t, table, have)
		again, err := Open(Options{}) // an agent that was restarted
		if err != nil {
			t.Fatal(err)
		}
		if wrote, err := again.Ensure(t.Context()); wrote || err != nil {
			t.Errorf("%s: after a restart Ensure = %v, %v; want false, nil", step.what, wrote, err)
		}
	}
	if left := ruleset(t); left != empty {
		t.Errorf("there was\n%s\nand is\n%s", empty, left)
	}
}

// What somebody did to a chain that comes or goes does not matter.
func TestHooksComeAndGoWhateverStandsUnderTheirNames(t *testing.T) {
	table := newKernelTable(t)
	ipv4, _ := twoFrontends()
	internal := Rules{Internal: NewSet(ipv4)}
	nft(t, "add chain inet kube-ipvs input { type filter hook input priority filter; }; add rule inet kube-ipvs input accept")
	if err := table.Apply(t.Context(), Diff(Rules{}, internal)); err != nil {
		t.Fatal(err)
	}
	wantState(t, table, internal)
	nft(t, "flush chain inet kube-ipvs input; delete chain inet kube-ipvs input")
	if err := table.Apply(t.Context(), Diff(internal, Rules{})); err != nil {
		t.Fatal(err)
	}
	wantState(t, table, Rules{})
}

func TestWhatOpenReadIsGivenOnceAndOnlyWhileItIsTrue(t *testing.T) {
	table := newKernelTable(t)
	if err := table.Replace(t.Context(), manyRules(8)); err != nil {
		t.Fatal(err)
	}
	runs := 0
	opened := func() *Table {
		again, err := Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		list := again.list
		again.list = func(ctx context.Context) (listing, error) { runs++; return list(ctx) }
		return again
	}
	again := opened()
	wantState(t, again, manyRules(8))
	if runs != 0 {
		t.Errorf("%d runs of nft for what Open had read", runs)
	}
	wantState(t, again, manyRules(8))
	if runs != 1 {
		t.Errorf("%d runs of nft for the second reading, want one", runs)
	}
	again = opened()
	nft(t, "flush set inet kube-ipvs owned-ipv4")
	state, err := again.Read(t.Context())
	if err != nil || state.Rules.Equal(manyRules(8)) || runs != 2 {
		t.Errorf("what was read before somebody wrote is given: %v, %d runs of nft", err, runs)
	}
}
