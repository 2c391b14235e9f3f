// Package floor measures what writing to IPVS costs without anything around it: a batched netlink writer, single calls by moby/ipvs, and
// ipvsadm --restore, each in a fresh network namespace; and ipvs.Apply beside them.
//
//	objects.Plan ─► ipvs.Table ─► a way, in a namespace of its own ─► a look at the table, the first time ─► result.Sample
//
// Follow is the floor of a program that serves changes: it reads a watch and writes.
package floor

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// manyServices is from which size on slow ways have one round: 1,000 Services take them 5 to 10 s in the guest.
const manyServices = 1000

// fewServices are what each way writes before anything is measured.
const fewServices = 10

// Run writes what size Services of the plan need, rounds times each way, interleaved, and returns one sample (result.Programming) for each.
// Slow ways have one round where there are many Services, and none if the plan has more: nothing changes in what each of their entries costs.
func Run(ctx context.Context, plan objects.Plan, size, rounds int, emit func(result.Sample)) error {
	// The first one who writes waits for the module of the scheduler, and for code that is run for the first time.
	little := tableOf(plan, min(size, fewServices))
	for _, w := range ways() {
		if _, err := w.measure(ctx, little, true); err != nil {
			return fmt.Errorf("%s, first write: %w", w.name, err)
		}
	}
	table := tableOf(plan, size)
	return run(size, rounds, waysAt(plan, size), checkOnce(func(w way, check bool) (time.Duration, error) {
		return w.measure(ctx, table, check)
	}), emit)
}

// checkOnce has what the first write of each way left looked at, and no other: reading takes several times as long as writing.
func checkOnce(measure func(w way, check bool) (time.Duration, error)) func(way) (time.Duration, error) {
	checked := map[string]bool{}
	return func(w way) (time.Duration, error) {
		check := !checked[w.name]
		checked[w.name] = true
		return measure(w, check)
	}
}

// way is one way to write a table that is empty. Prepare runs in the network namespace that is to be written to; what it returns
// is measured, and may run anywhere.
type way struct {
	name    string
	slow    bool
	note    string
	prepare func(ctx context.Context, table ipvs.Table) (write func(context.Context) error, done func(), err error)
}

func ways() []way {
	return []way{
		{
			name: result.BareBatched, prepare: prepareBare,
			note: "messages encoded and sent, 1,000 in a system call, of which the last is acknowledged",
		},
		{
			name: result.KubeIPVS, prepare: prepareApply,
			note: "ipvs.Apply of a plan that is there, in the benchmark's process",
		},
		{
			name: result.MobySingle, slow: true, prepare: prepareMoby,
			note: "one call of moby/ipvs for each virtual server and each real server",
		},
		{
			name: result.Ipvsadm, slow: true, prepare: prepareIpvsadm,
			note: "a process that reads text that is there, from its start to its end",
		},
	}
}

// waysAt are the ways that are measured at a size: slow ones at the first one only that is of many Services.
func waysAt(plan objects.Plan, size int) []way {
	more := slices.ContainsFunc(plan.Sizes, func(s int) bool { return manyServices <= s && s < size })
	return slices.DeleteFunc(ways(), func(w way) bool { return w.slow && more })
}

func run(size, rounds int, ways []way, measure func(way) (time.Duration, error), emit func(result.Sample)) error {
	samples := make([]result.Sample, len(ways))
	for i, w := range ways {
		samples[i] = result.Sample{Subject: w.name, Measure: result.Programming, Size: size, Unit: result.Seconds, Note: w.note}
	}
	for round := range rounds {
		for i := range ways {
			i = (round + i) % len(ways) // none always follows the same one
			last := rounds
			if ways[i].slow && size >= manyServices {
				last = 1
			}
			if round >= last {
				continue
			}
			took, err := measure(ways[i])
			if err != nil {
				return fmt.Errorf("%s, %d Services: %w", ways[i].name, size, err)
			}
			samples[i].Values = append(samples[i].Values, took.Seconds())
			if round == last-1 {
				emit(samples[i])
			}
		}
	}
	return nil
}

// measure writes the table once, in a network namespace of its own, and looks whether it is there, if that is to be checked.
func (w way) measure(ctx context.Context, table ipvs.Table, check bool) (took time.Duration, err error) {
	err = inFreshNamespace(func() error {
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		defer kernel.Close()
		took, err = w.measureOn(ctx, kernel, table, check)
		return err
	})
	return took, err
}

func (w way) measureOn(ctx context.Context, kernel ipvs.Handle, table ipvs.Table, check bool) (took time.Duration, err error) {
	write, done, err := w.prepare(ctx, table)
	if err != nil {
		return 0, err
	}
	defer done()
	runtime.GC() // what others have left is not this one's
	begin := time.Now()
	if err := write(ctx); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	if check {
		if err := isThere(ctx, kernel, table); err != nil {
			return 0, err
		}
	}
	// What stands in other namespaces costs a kernel time that counts its traffic every two seconds.
	kernel.Do(ctx, ipvs.Diff(table, nil))
	return took, nil
}

// looked is of how many virtual servers isThere compares the real servers, evenly spread: of all of many it takes longer than the writing.
const looked = 500

// isThere looks whether the kernel has a table: all of its virtual servers, and the real servers of some.
func isThere(ctx context.Context, kernel ipvs.Reader, table ipvs.Table) error {
	have, err := kernel.Virtuals(ctx)
	if err != nil {
		return err
	}
	if want := table.Virtuals(); !maps.Equal(have, want) {
		return fmt.Errorf("the table is not as it was to be: it has %d virtual servers of %d, or others", len(have), len(want))
	}
	keys := table.Keys()
	for i := 0; i < len(keys); i += max(1, len(keys)/looked) {
		same, err := kernel.SameReals(ctx, keys[i], table[keys[i]].Reals, nil)
		if err == nil && !same {
			err = fmt.Errorf("%s has other real servers than it was to have", keys[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tableOf is what kube-ipvs makes of the Services of a plan.
func tableOf(plan objects.Plan, size int) ipvs.Table {
	table := ipvs.Table{}
	for i := range size {
		reals := map[netip.AddrPort]ipvs.RealServer{}
		for j := range plan.Endpoints {
			reals[plan.Endpoint(i, j)] = ipvs.RealServer{Weight: 1}
		}
		for _, key := range plan.Frontends(i) {
			table[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: scheduler}, Reals: reals}
		}
	}
	return table
}
