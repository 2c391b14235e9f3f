package filter_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// keys reads frontends in the form of frontend.Key.String.
func keys(t testing.TB, texts ...string) []frontend.Key {
	t.Helper()
	var list []frontend.Key
	for _, text := range texts {
		key, err := frontend.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, key)
	}
	return list
}

func set(t testing.TB, texts ...string) filter.Set {
	t.Helper()
	return filter.NewSet(keys(t, texts...)...)
}

// all masquerades every client of these frontends.
func all(t testing.TB, texts ...string) map[frontend.Key]filter.Masquerade {
	t.Helper()
	m := map[frontend.Key]filter.Masquerade{}
	for _, key := range keys(t, texts...) {
		m[key] = filter.MasqueradeAll
	}
	return m
}

// changes are those from one masquerade of a frontend to another.
func change(t testing.TB, text string, was, is filter.Masquerade) []filter.MasqueradeChange {
	t.Helper()
	return []filter.MasqueradeChange{{Key: keys(t, text)[0], Was: was, Is: is}}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// admitting has the same list for all these frontends.
func admitting(t testing.TB, s *filter.Sources, texts ...string) map[frontend.Key]*filter.Sources {
	t.Helper()
	m := map[frontend.Key]*filter.Sources{}
	for _, key := range keys(t, texts...) {
		m[key] = s
	}
	return m
}

// office is a list of some breadth.
func office() *filter.Sources {
	return filter.NewSources(prefixes("10.0.0.0/8", "fd00::/8"), prefixes("10.9.0.0/16"))
}

const (
	web4 = "tcp://10.1.0.10:30080"
	web6 = "tcp://[fd01::10]:30080"
	dns4 = "udp://10.1.0.10:30080"
	sig4 = "sctp://10.1.0.11:30080"
)

func TestDiff(t *testing.T) {
	tests := []struct {
		name       string
		have, want filter.Rules
		change     filter.Change
	}{
		{name: "nothing to nothing is empty"},
		{
			name: "the same is empty, whatever is masqueraded",
			have: filter.Rules{Owned: set(t, web4, web6), Masquerade: all(t, web6)},
			want: filter.Rules{Owned: set(t, web4, web6), Masquerade: all(t, web6)},
		},
		{
			name: "a new frontend is owned and masqueraded",
			want: filter.Rules{Owned: set(t, web4), Masquerade: all(t, web4)},
			change: filter.Change{
				AddOwned: keys(t, web4), Masquerade: change(t, web4, filter.MasqueradeNone, filter.MasqueradeAll),
			},
		},
		{
			name: "a frontend that goes leaves everything",
			have: filter.Rules{Owned: set(t, web4, dns4), Masquerade: all(t, web4)},
			want: filter.Rules{Owned: set(t, dns4)},
			change: filter.Change{
				DelOwned: keys(t, web4), Masquerade: change(t, web4, filter.MasqueradeAll, filter.MasqueradeNone),
			},
		},
		{
			name:   "a frontend that keeps the client's address from now on stays owned",
			have:   filter.Rules{Owned: set(t, web4), Masquerade: all(t, web4)},
			want:   filter.Rules{Owned: set(t, web4)},
			change: filter.Change{Masquerade: change(t, web4, filter.MasqueradeAll, filter.MasqueradeNone)},
		},
		{
			name:   "another masquerade tells what it was",
			have:   filter.Rules{Masquerade: all(t, web4)},
			want:   filter.Rules{Masquerade: map[frontend.Key]filter.Masquerade{keys(t, web4)[0]: filter.MasqueradePods}},
			change: filter.Change{Masquerade: change(t, web4, filter.MasqueradeAll, filter.MasqueradePods)},
		},
		{
			name: "internal frontends and networks of pods come and go",
			have: filter.Rules{Internal: set(t, web4), Pods: prefixes("10.244.1.0/24")},
			want: filter.Rules{Internal: set(t, web6), Pods: prefixes("10.244.2.0/24", "fd44::/64")},
			change: filter.Change{
				AddInternal: keys(t, web6), DelInternal: keys(t, web4),
				Pods: prefixes("10.244.2.0/24", "fd44::/64"), SetPods: true,
			},
		},
		{
			name:   "an internal frontend alone",
			want:   filter.Rules{Internal: set(t, web4)},
			change: filter.Change{AddInternal: keys(t, web4)},
		},
		{
			name:   "the networks of pods alone",
			have:   filter.Rules{Pods: prefixes("10.244.1.0/24")},
			change: filter.Change{SetPods: true},
		},
		{
			name: "the first frontend with a list brings it",
			want: filter.Rules{Sources: admitting(t, office(), web4)},
			change: filter.Change{
				Sources: []filter.SourcesChange{{Key: keys(t, web4)[0], Is: office()}}, Lists: &filter.ListsChange{Add: lists(office())},
			},
		},
		{
			name: "another one with it does not",
			have: filter.Rules{Sources: admitting(t, office(), web6)},
			want: filter.Rules{Sources: admitting(t, office(), web4, web6)},
			change: filter.Change{
				Sources: []filter.SourcesChange{{Key: keys(t, web4)[0], Is: office()}}, Lists: &filter.ListsChange{},
			},
		},
		{
			name: "a list that a frontend leaves stays for the other",
			have: filter.Rules{Sources: admitting(t, office(), web4, web6)},
			want: filter.Rules{Sources: admitting(t, office(), web6)},
			change: filter.Change{
				Sources: []filter.SourcesChange{{Key: keys(t, web4)[0], Was: office()}}, Lists: &filter.ListsChange{},
			},
		},
		{
			name: "the last one takes it along, for another list or for none",
			have: filter.Rules{Sources: admitting(t, office(), web4, web6)},
			want: filter.Rules{Sources: admitting(t, filter.Nobody(), web6)},
			change: filter.Change{
				Sources: []filter.SourcesChange{
					{Key: keys(t, web4)[0], Was: office()}, {Key: keys(t, web6)[0], Was: office(), Is: filter.Nobody()},
				},
				Lists: &filter.ListsChange{Add: lists(filter.Nobody()), Del: lists(office())},
			},
		},
		{
			name: "address, protocol and port are all part of the key, and lists are in order",
			have: filter.Rules{Owned: set(t, web4)},
			want: filter.Rules{Owned: set(t, web6, sig4, dns4)},
			change: filter.Change{
				AddOwned: keys(t, dns4, sig4, web6), DelOwned: keys(t, web4),
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := filter.Diff(test.have, test.want)
			if d := cmp.Diff(test.change, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(filter.Change{}, "Hooks"), cmp.Comparer(sameKey), cmp.Comparer(samePrefix)); d != "" {
				t.Errorf("change differs (-want +got):\n%s", d)
			}
			if got.Empty() != test.have.Equal(test.want) {
				t.Errorf("Empty() = %v, but Equal() = %v", got.Empty(), test.have.Equal(test.want))
			}
		})
	}
}

func lists(all ...*filter.Sources) []*filter.Sources { return all }

func sameKey(a, b frontend.Key) bool { return a == b }

func samePrefix(a, b netip.Prefix) bool { return a == b }

func TestWhatIsAddedAndDeletedInOneChangeIsThere(t *testing.T) {
	list := keys(t, web4)
	change := filter.Change{AddOwned: list, DelOwned: list, AddInternal: list, DelInternal: list}
	want := filter.Rules{Owned: set(t, web4), Internal: set(t, web4)}
	var memory filter.Rules
	memory.Commit(change)
	if !memory.Equal(want) {
		t.Errorf("in memory there is %v", memory)
	}
	table, _, rules := served(t)
	if err := table.Apply(t.Context(), rules.Complete(change)); err != nil {
		t.Fatal(err)
	}
	if rules := mustRead(t, table).Rules; !rules.Owned.Has(list[0]) || !rules.Internal.Has(list[0]) {
		t.Errorf("in the table there is %v", rules)
	}
}

func TestDiffCommittedToWhatThereIsGivesWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawRules(t, "have"), drawRules(t, "want")
		have.Commit(filter.Diff(have, want))
		if !have.Equal(want) {
			t.Fatalf("there is %v, want %v", have, want)
		}
	})
}

// drawRules draws rules from few frontends, so that two of them overlap.
func drawRules(t *rapid.T, label string) filter.Rules {
	key := rapid.Custom(func(t *rapid.T) frontend.Key {
		addr := rapid.SampledFrom([]string{"10.1.0.10", "10.2.0.10", "fd01::10", "2001:db8::1:0:0:a"}).Draw(t, "addr")
		protocol := rapid.SampledFrom(frontend.Protocols()).Draw(t, "protocol")
		port := rapid.SampledFrom([]uint16{1, 80, 30080, 65535}).Draw(t, "port")
		return frontend.NewKey(netip.MustParseAddr(addr), protocol, port)
	})
	draw := func(name string) filter.Set {
		return filter.NewSet(rapid.SliceOfN(key, 0, 12).Draw(t, label+" "+name)...)
	}
	masquerade := map[frontend.Key]filter.Masquerade{}
	for _, key := range draw("masquerade").Keys() {
		masquerade[key] = rapid.SampledFrom([]filter.Masquerade{filter.MasqueradePods, filter.MasqueradeRemote, filter.MasqueradeAll}).
			Draw(t, label+" masquerade")
	}
	pods := rapid.SliceOf(rapid.SampledFrom(prefixes("10.244.1.0/24", "10.244.0.0/16", "10.9.0.1/32", "fd44::/64", "fd44::1/128", "::/0"))).
		Draw(t, label+" pods")
	sources := map[frontend.Key]*filter.Sources{}
	for _, key := range draw("sources").Keys() {
		sources[key] = rapid.SampledFrom(lists(office(), filter.Nobody(), filter.NewSources(prefixes("fd01::/64"), nil))).Draw(t, label+" sources")
	}
	return filter.Rules{
		Owned: draw("owned"), Masquerade: masquerade, Internal: draw("internal"), Sources: sources, Pods: filter.NormalPrefixes(pods),
		Away: rapid.Bool().Draw(t, label+" away"),
	}
}

func TestPrefixesAreNormal(t *testing.T) {
	got := filter.NormalPrefixes(prefixes("10.244.1.7/24", "fd44::/64", "10.244.0.0/16", "10.9.0.0/24", "10.244.1.0/24", "fd44::/64", "10.8.0.0/13", "172.16.9.9/16"))
	want := prefixes("10.8.0.0/13", "10.244.0.0/16", "172.16.0.0/16", "fd44::/64")
	if d := cmp.Diff(want, got, cmp.Comparer(samePrefix)); d != "" {
		t.Errorf("prefixes differ (-want +got):\n%s", d)
	}
}

func TestACloneSharesNothing(t *testing.T) {
	rules := func() filter.Rules {
		return filter.Rules{
			Owned: set(t, web4), Masquerade: all(t, web4), Internal: set(t, web4), Sources: admitting(t, office(), web4),
			Pods: prefixes("10.244.1.0/24"),
		}
	}
	original := rules()
	clone := original.Clone()
	clone.Commit(filter.Change{
		AddOwned: keys(t, web6), AddInternal: keys(t, web6), Masquerade: change(t, web6, filter.MasqueradeNone, filter.MasqueradeAll),
		Sources: []filter.SourcesChange{{Key: keys(t, web4)[0], Was: office(), Is: filter.Nobody()}},
	})
	clone.Pods[0] = prefixes("10.9.0.0/16")[0]
	if !original.Equal(rules()) {
		t.Errorf("a change of the clone makes of the original %v", original)
	}
}

func TestWhatIsSaidOfFrontendsThatAreNotOwnedIsLeftOut(t *testing.T) {
	rules := filter.Rules{
		Owned: set(t, web4), Masquerade: all(t, web4, web6), Internal: set(t, web4, web6), Sources: admitting(t, office(), web4, web6),
		Pods: prefixes("10.244.1.0/24"),
	}
	want := filter.Rules{
		Owned: set(t, web4), Masquerade: all(t, web4), Internal: set(t, web4), Sources: admitting(t, office(), web4), Pods: rules.Pods,
	}
	if got := rules.OfOwned(); !got.Equal(want) || !rules.Internal.Has(keys(t, web6)[0]) {
		t.Errorf("left is %v of %v, want %v", got, rules, want)
	}
}
