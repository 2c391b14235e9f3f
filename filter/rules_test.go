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
			have: filter.Rules{Owned: set(t, web4, web6), Masquerade: set(t, web6)},
			want: filter.Rules{Owned: set(t, web4, web6), Masquerade: set(t, web6)},
		},
		{
			name: "a new frontend is owned and masqueraded",
			want: filter.Rules{Owned: set(t, web4), Masquerade: set(t, web4)},
			change: filter.Change{
				AddOwned: keys(t, web4), AddMasquerade: keys(t, web4),
			},
		},
		{
			name: "a frontend that goes leaves both sets",
			have: filter.Rules{Owned: set(t, web4, dns4), Masquerade: set(t, web4)},
			want: filter.Rules{Owned: set(t, dns4)},
			change: filter.Change{
				DelMasquerade: keys(t, web4), DelOwned: keys(t, web4),
			},
		},
		{
			name:   "a frontend that keeps the client's address from now on stays owned",
			have:   filter.Rules{Owned: set(t, web4), Masquerade: set(t, web4)},
			want:   filter.Rules{Owned: set(t, web4)},
			change: filter.Change{DelMasquerade: keys(t, web4)},
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
			if d := cmp.Diff(test.change, got, cmpopts.EquateEmpty(), cmp.Comparer(sameKey)); d != "" {
				t.Errorf("change differs (-want +got):\n%s", d)
			}
			if got.Empty() != test.have.Equal(test.want) {
				t.Errorf("Empty() = %v, but Equal() = %v", got.Empty(), test.have.Equal(test.want))
			}
		})
	}
}

func sameKey(a, b frontend.Key) bool { return a == b }

func TestWhatIsAddedAndDeletedInOneChangeIsThere(t *testing.T) {
	list := keys(t, web4)
	change := filter.Change{AddOwned: list, AddMasquerade: list, DelOwned: list, DelMasquerade: list}
	want := filter.Rules{Owned: set(t, web4), Masquerade: set(t, web4)}
	var memory filter.Rules
	memory.Commit(change)
	if !memory.Equal(want) {
		t.Errorf("in memory there is %v", memory)
	}
	table, _, _ := served(t)
	if err := table.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if rules := mustRead(t, table).Rules; !rules.Owned.Has(list[0]) || !rules.Masquerade.Has(list[0]) {
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
	return filter.Rules{Owned: draw("owned"), Masquerade: draw("masquerade")}
}
