package ipvs_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestDiff(t *testing.T) {
	for name, test := range map[string]struct{ have, want, plan string }{
		"nothing from nothing": {},
		"a new virtual server comes before its real servers": {
			want: `
				tcp://10.1.0.10:80 rr
					10.244.1.2:8080 masq weight 1
				tcp://10.1.0.11:80 rr
					10.244.1.2:8080 masq weight 1`,
			plan: `add-virtual tcp://10.1.0.10:80 rr
add-virtual tcp://10.1.0.11:80 rr
add-real tcp://10.1.0.10:80 10.244.1.2:8080 masq weight 1
add-real tcp://10.1.0.11:80 10.244.1.2:8080 masq weight 1
`,
		},
		"a virtual server that goes takes its real servers with it": {
			have: `
				tcp://10.1.0.10:80 rr
					10.244.1.2:8080 masq weight 1
					10.244.1.3:8080 masq weight 1`,
			plan: "delete-virtual tcp://10.1.0.10:80\n",
		},
		"another scheduler is set in place": {
			have: `
				tcp://10.1.0.10:80 rr
					10.244.1.2:8080 masq weight 1`,
			want: `
				tcp://10.1.0.10:80 sh fallback
					10.244.1.2:8080 masq weight 1`,
			plan: "set-virtual tcp://10.1.0.10:80 sh fallback\n",
		},
		"what serves more comes before what serves less": {
			have: `
				tcp://10.1.0.10:80 rr
					10.244.1.2:8080 masq weight 1
					10.244.1.3:8080 masq weight 1
					10.244.1.4:8080 masq weight 0
				tcp://10.1.0.12:80 rr`,
			want: `
				tcp://10.1.0.10:80 rr
					10.244.1.3:8080 masq weight 0
					10.244.1.4:8080 masq weight 2
					10.244.1.5:8080 masq weight 1
				tcp://10.1.0.11:80 rr`,
			plan: `add-virtual tcp://10.1.0.11:80 rr
add-real tcp://10.1.0.10:80 10.244.1.5:8080 masq weight 1
set-real tcp://10.1.0.10:80 10.244.1.4:8080 masq weight 2
set-real tcp://10.1.0.10:80 10.244.1.3:8080 masq weight 0
delete-real tcp://10.1.0.10:80 10.244.1.2:8080
delete-virtual tcp://10.1.0.12:80
`,
		},
		"a virtual server may stand without real servers": {
			have: "tcp://10.1.0.10:80 rr\n10.244.1.2:8080 masq weight 1",
			want: "tcp://10.1.0.10:80 rr",
			plan: "delete-real tcp://10.1.0.10:80 10.244.1.2:8080\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan := ipvs.Diff(mustParse(t, test.have), mustParse(t, test.want))
			if diff := cmp.Diff(test.plan, plan.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPropertyP2DiffOfEqualTablesIsEmpty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := ours().table().Draw(t, "table")
		if plan := ipvs.Diff(table, table.Clone()); len(plan) != 0 {
			t.Fatalf("plan:\n%s", plan)
		}
	})
}

func TestPropertyP3DiffHasOneOperationForEachDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := ours().table().Draw(t, "have"), ours().table().Draw(t, "want")
		plan := ipvs.Diff(have, want)
		if n := differences(have, want); len(plan) != n {
			t.Fatalf("%d operations for %d differences:\n%s", len(plan), n, plan)
		}
		seen := map[ipvs.Op]bool{}
		for _, op := range plan {
			name := ipvs.Op{Key: op.Key, RealKey: op.RealKey}
			if seen[name] {
				t.Fatalf("two operations on one entry:\n%s", plan)
			}
			seen[name] = true
			if have[op.Key].Equal(want[op.Key]) && have[op.Key].Scheduler != "" {
				t.Fatalf("an operation on an equal entry: %s", op)
			}
		}
	})
}

// differences counts the entries that are not the same in both tables; the real servers of a virtual server that goes
// do not count.
func differences(have, want ipvs.Table) int {
	n := 0
	for _, key := range sortedKeys(have, want) {
		h, had := have[key]
		w, wanted := want[key]
		if had != wanted || h.VirtualServer != w.VirtualServer {
			n++
		}
		if !wanted {
			continue
		}
		reals := maps.Clone(h.Reals)
		if reals == nil {
			reals = maps.Clone(w.Reals)
		}
		maps.Copy(reals, w.Reals)
		for addr := range reals {
			hr, had := h.Reals[addr]
			wr, wanted := w.Reals[addr]
			if had != wanted || hr != wr {
				n++
			}
		}
	}
	return n
}

func TestPropertyP5EveryPrefixOfAPlanServes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := ours().table().Draw(t, "have"), ours().table().Draw(t, "want")
		table := have.Clone()
		for i, op := range ipvs.Diff(have, want) {
			table.Commit(op)
			stillServes(t, i, op, have, want, table)
		}
		wantTable(t, "after the whole plan", table, want)
	})
}

// stillServes checks a table between have and want: a virtual server that both have is there, and if it can serve in
// both (it has a real server with weight) it can serve in between. That is more than P5 asks for, which wants a real
// server that is the same in both.
func stillServes(t fataler, i int, op ipvs.Op, have, want, between ipvs.Table) {
	t.Helper()
	for key, h := range have {
		w, wanted := want[key]
		if !wanted {
			continue
		}
		b, exists := between[key]
		if !exists {
			t.Fatalf("after operation %d (%s) there is no %s", i, op, key)
		}
		if serves(h) && serves(w) && !serves(b) {
			t.Fatalf("after operation %d (%s) nothing serves %s:\n%s", i, op, key, between)
		}
	}
}

func serves(e ipvs.Entry) bool {
	for _, r := range e.Reals {
		if r.Weight > 0 {
			return true
		}
	}
	return false
}

func TestPropertyP7PlansAreTheSameEveryTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := ours().table().Draw(t, "have"), ours().table().Draw(t, "want")
		first := ipvs.Diff(have, want).String()
		for range 20 {
			if diff := cmp.Diff(first, ipvs.Diff(have.Clone(), want.Clone()).String()); diff != "" {
				t.Fatalf("another plan:\n%s", diff)
			}
		}
	})
}
