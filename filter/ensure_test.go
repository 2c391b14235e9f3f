package filter_test

import (
	"testing"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

func TestEnsureWritesNothingWhenTheTableIsRight(t *testing.T) {
	table, fake, _ := served(t)
	before := fake.Writes()
	wrote, err := table.Ensure(t.Context())
	if err != nil || wrote {
		t.Errorf("Ensure = %v, %v; want false, nil", wrote, err)
	}
	if fake.Writes() != before {
		t.Errorf("%d transactions were written", fake.Writes()-before)
	}
}

func TestEnsureMendsAndKeepsWhatItCanRead(t *testing.T) {
	tests := []struct {
		name   string
		damage func(tx *knftables.Transaction)
		lost   func(r *filter.Rules)
	}{
		{
			name:   "no table",
			damage: func(tx *knftables.Transaction) { tx.Delete(&knftables.Table{}) },
			lost:   func(r *filter.Rules) { *r = filter.Rules{} },
		},
		{
			name:   "no rules",
			damage: func(tx *knftables.Transaction) { tx.Flush(&knftables.Chain{Name: "postrouting"}) },
		},
		{
			name:   "no chain",
			damage: func(tx *knftables.Transaction) { tx.Delete(&knftables.Chain{Name: "input"}) },
		},
		{
			name:   "a chain without its rules that others go to",
			damage: func(tx *knftables.Transaction) { tx.Flush(&knftables.Chain{Name: "masquerade-pods"}) },
		},
		{
			name: "no map",
			damage: func(tx *knftables.Transaction) {
				tx.Flush(&knftables.Chain{Name: "postrouting"})
				tx.Delete(&knftables.Map{Name: "masquerade-ipv6-tcp"})
			},
			lost: func(r *filter.Rules) { delete(r.Masquerade, keys(t, web6)[0]) },
		},
		{
			name:   "no set",
			damage: func(tx *knftables.Transaction) { tx.Delete(&knftables.Set{Name: "owned-ipv6"}) },
			lost:   func(r *filter.Rules) { delete(r.Owned, keys(t, web6)[0]) },
		},
		{
			name: "a rule of somebody in our chain",
			damage: func(tx *knftables.Transaction) {
				tx.Insert(&knftables.Rule{Chain: "postrouting", Rule: "accept"})
			},
		},
		{
			name: "another layout",
			damage: func(tx *knftables.Transaction) {
				tx.Flush(&knftables.Chain{Name: "postrouting"})
				for range 6 {
					tx.Add(&knftables.Rule{Chain: "postrouting", Rule: "accept", Comment: knftables.PtrTo("layout 0")})
				}
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, fake, want := served(t)
			if err := fake.Foreign(t.Context(), test.damage); err != nil {
				t.Fatal(err)
			}
			if mustRead(t, table).Intact {
				t.Error("Read says that the table is intact")
			}
			if wrote, err := table.Ensure(t.Context()); err != nil || !wrote {
				t.Fatalf("Ensure = %v, %v; want true, nil", wrote, err)
			}
			if test.lost != nil {
				test.lost(&want)
			}
			if state := mustRead(t, table); !state.Intact || !state.Rules.Equal(want) {
				t.Errorf("after Ensure: %+v, want intact with %v", state, want)
			}
		})
	}
}

func TestEnsureLeavesObjectsOfOthersInTheTable(t *testing.T) {
	table, fake, _ := served(t)
	debug := func(tx *knftables.Transaction) { tx.Add(&knftables.Chain{Name: "trace"}) }
	if err := fake.Foreign(t.Context(), debug); err != nil {
		t.Fatal(err)
	}
	if wrote, err := table.Ensure(t.Context()); wrote || err != nil {
		t.Errorf("Ensure = %v, %v; want false, nil", wrote, err)
	}
}
