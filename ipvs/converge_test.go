package ipvs_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// scoped is a kernel with a part that is ours and a part that somebody else owns.
type scoped struct {
	*ipvsfake.Kernel
	foreign ipvs.Table
}

func newScoped(have, foreign ipvs.Table) scoped {
	table := have.Clone()
	for key, e := range foreign {
		table[key] = e
	}
	return scoped{ipvsfake.New(ipvsfake.WithTable(table)), foreign}
}

// ours is our part of a table.
func (scoped) ours(t ipvs.Table) ipvs.Table { return t.Only(ours().keys()) }

// wantOnly checks that our part is want, and that the other part is what it always was.
func (s scoped) wantOnly(t fataler, want ipvs.Table) {
	t.Helper()
	s.wantForeign(t)
	wantTable(t, "our part of the kernel", s.ours(s.Table()), want)
}

func (s scoped) wantForeign(t fataler) {
	t.Helper()
	wantTable(t, "what is not ours", s.Table().Only(theirs().keys()), s.foreign)
}

func TestPropertyP1P4ApplyMakesTheKernelWantedAndLeavesTheRestAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := ours().table().Draw(t, "have"), ours().table().Draw(t, "want")
		kernel := newScoped(have, theirs().table().Draw(t, "foreign"))
		plan := ipvs.Diff(have, want)

		result := ipvs.Apply(t.Context(), kernel, plan)

		if len(result.Failed) != 0 || len(result.Uncertain) != 0 {
			t.Fatalf("failed %v, uncertain %v", result.Failed, result.Uncertain)
		}
		if !slices.Equal(result.Done, plan) {
			t.Fatalf("done:\n%sinstead of the plan:\n%s", result.Done, plan)
		}
		kernel.wantOnly(t, want)
		if kernel.Writes() != len(plan) {
			t.Fatalf("%d writes for %d operations", kernel.Writes(), len(plan))
		}
	})
}

func TestPropertyP6FaultsDelayButDoNotPrevent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := ours().table().Draw(t, "have"), ours().table().Draw(t, "want")
		kernel := newScoped(have, theirs().table().Draw(t, "foreign"))
		faulty := ipvsfake.Faulty(kernel, ipvsfake.Faults{Rate: 0.3, Seed: rapid.Uint64().Draw(t, "seed")})
		pass := func() {
			table, err := faulty.List(t.Context())
			if err != nil {
				return // Without a table there is nothing to compare: the next pass tries again.
			}
			ipvs.Apply(t.Context(), faulty, ipvs.Diff(kernel.ours(table), want))
			kernel.wantForeign(t)
		}
		for range 3 {
			pass()
		}
		faulty.Heal()
		pass()
		kernel.wantOnly(t, want)
	})
}

// What the agent does between audits: it never lists, it remembers what was acknowledged and reads again what is
// uncertain.
func TestPropertyP6MemoryOfAcknowledgedOperationsIsTheKernel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have := ours().table().Draw(t, "have")
		kernel := newScoped(have, theirs().table().Draw(t, "foreign"))
		faulty := ipvsfake.Faulty(kernel, ipvsfake.Faults{Rate: 0.3, Seed: rapid.Uint64().Draw(t, "seed")})
		memory := have.Clone()
		pass := func(want ipvs.Table) {
			result := ipvs.Apply(t.Context(), faulty, ipvs.Diff(memory, want))
			for _, op := range result.Done {
				memory.Commit(op)
			}
			for _, key := range result.Uncertain {
				readAgain(t, kernel, memory, key)
			}
			wantTable(t, "memory", memory, kernel.ours(kernel.Table()))
			kernel.wantForeign(t)
		}
		var want ipvs.Table
		for range 3 {
			want = ours().table().Draw(t, "want")
			pass(want)
		}
		faulty.Heal()
		pass(want)
		kernel.wantOnly(t, want)
	})
}

func readAgain(t *rapid.T, h ipvs.Handle, memory ipvs.Table, key frontend.Key) {
	e, _, err := h.Get(t.Context(), key)
	switch {
	case err == nil:
		memory[key] = e
	case ipvs.IsGone(err):
		delete(memory, key)
	default:
		t.Fatalf("%v", err)
	}
}

func TestPropertyP8EveryStateIsReachedFromEveryOther(t *testing.T) {
	states := map[string]ipvs.Table{
		"empty": {},
		"one":   mustParse(t, "tcp://10.1.0.10:30080 rr\n10.244.1.2:8080 masq weight 1"),
		"two real servers, two addresses": mustParse(t, `
			tcp://10.1.0.10:30080 rr
				10.244.1.2:8080 masq weight 1
				10.244.2.7:8080 masq weight 1
			tcp://192.0.2.10:30080 rr
				10.244.1.2:8080 masq weight 1
				10.244.2.7:8080 masq weight 1`),
		"draining": mustParse(t, `
			tcp://10.1.0.10:30080 rr
				10.244.1.2:8080 masq weight 0
				10.244.2.7:8080 masq weight 1`),
		"no real servers": mustParse(t, "tcp://10.1.0.10:30080 rr\nudp://10.1.0.10:30080 rr"),
		"another scheduler": mustParse(t, `
			tcp://10.1.0.10:30080 sh fallback
				10.244.1.2:8080 masq weight 1`),
		"persistent": mustParse(t, `
			tcp://10.1.0.10:30080 sh persistent 10800s
				10.244.1.2:8080 masq weight 1
			udp://[fd01::10]:30080 rr persistent 300s /64 one-packet
				[fd02::2]:8080 masq weight 5`),
	}
	names := slices.Sorted(maps.Keys(states))
	foreign := mustParse(t, "tcp://10.96.0.1:443 rr\n10.244.1.2:8080 masq weight 1")
	kernel := newScoped(ipvs.Table{}, foreign)
	jumps := rand.New(rand.NewPCG(1, 2))
	visited := map[[2]string]bool{}
	for from := "empty"; len(visited) < len(names)*len(names); {
		to := names[jumps.IntN(len(names))]
		visited[[2]string{from, to}] = true
		table, err := kernel.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ipvs.Apply(t.Context(), kernel, ipvs.Diff(kernel.ours(table), states[to]))
		kernel.wantOnly(t, states[to])
		from = to
	}
}

func TestPropertyP9LossyDumpsDeleteNothingThatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := ours().table().Draw(t, "have"), ours().table().Draw(t, "want")
		kernel := newScoped(have, theirs().table().Draw(t, "foreign"))
		faulty := ipvsfake.Faulty(watched{kernel, func(i int, op ipvs.Op) {
			stillServes(t, i, op, have, want, kernel.Table())
			wantedStays(t, op, have, want, kernel.Table())
		}}, ipvsfake.Faults{Lossy: 0.2, Seed: rapid.Uint64().Draw(t, "seed")})
		pass := func() {
			table, err := faulty.List(t.Context())
			if err != nil {
				t.Fatalf("%v", err)
			}
			result := ipvs.Apply(t.Context(), faulty, ipvs.Diff(kernel.ours(table), want))
			if len(result.Failed) != 0 {
				t.Fatalf("failed: %v", result.Failed)
			}
			kernel.wantForeign(t)
		}
		for range 3 {
			pass()
			for key, w := range want {
				wantTable(t, "what is wanted", kernel.Table().Only([]frontend.Key{key}), withRest(key, w, have, kernel.Table()))
			}
		}
		faulty.Heal()
		pass()
		kernel.wantOnly(t, want)
	})
}

// withRest is w with the real servers that a lossy dump may have hidden from the plan: they were there from the
// beginning and are there still.
func withRest(key frontend.Key, w ipvs.Entry, have, kernel ipvs.Table) ipvs.Table {
	e := w.Clone()
	for addr, r := range kernel[key].Reals {
		if _, wanted := w.Reals[addr]; !wanted && have[key].Reals[addr] == r {
			e.Reals[addr] = r
		}
	}
	return ipvs.Table{key: e}
}

// wantedStays checks that every entry that was there and is wanted is there.
func wantedStays(t fataler, op ipvs.Op, have, want, kernel ipvs.Table) {
	t.Helper()
	for key, w := range want {
		for addr := range w.Reals {
			_, had := have[key].Reals[addr]
			if _, has := kernel[key].Reals[addr]; had && !has {
				t.Fatalf("%s deleted %s of %s, which is wanted", op, addr, key)
			}
		}
	}
}

// watched calls after when an operation was done, whatever came of it.
type watched struct {
	ipvs.Handle
	after func(i int, op ipvs.Op)
}

func (w watched) Do(ctx context.Context, ops []ipvs.Op) []error {
	results := make([]error, len(ops))
	for i, op := range ops {
		results[i] = w.Handle.Do(ctx, []ipvs.Op{op})[0]
		w.after(i, op)
	}
	return results
}
