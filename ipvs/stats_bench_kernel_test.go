//go:build kernel && linux

package ipvs_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// BenchmarkStats2700x2x10 reads what is counted for 2,700 Services on two node addresses with 10 endpoints each: 5,400
// virtual and 54,000 real servers. It prints how long each read takes, what it asks of the kernel, and how long somebody
// who writes waits beside such reads and without them.
func BenchmarkStats2700x2x10(b *testing.B) {
	table := services(2700, 10, "10.1.0.10", "10.2.0.10")
	for b.Loop() {
		var h ipvs.Handle
		var r ipvs.StatsReader
		inFreshNamespace(b, func() { h, r = open(b, ipvs.Options{}), openStats(b) })
		if done := ipvs.Apply(b.Context(), h, ipvs.Diff(nil, table)); len(done.Failed)+len(done.Uncertain) > 0 {
			b.Fatal(done.Failed, done.Uncertain)
		}
		key := table.Keys()[0]
		reals := func(ctx context.Context) error {
			_, err := r.Reals(ctx, key)
			return err
		}
		reads := ipvs.CountReads(r)
		tell(b, "virtuals-ms", repeat(b, 5, readVirtuals(r, len(table))))
		b.ReportMetric(float64(reads.Answers)/5, "virtuals-answers")
		b.ReportMetric(float64(reads.Messages)/5, "virtuals-messages")
		*reads = ipvs.Reads{}
		tell(b, "use-ms", repeat(b, 5, readUse(r, len(table))))
		b.ReportMetric(float64(reads.Answers)/5, "use-answers")
		b.ReportMetric(float64(reads.Proc)/5, "use-proc-reads")
		tell(b, "reals-of-one-ms", repeat(b, 20, reals))
		benchmarkWrites(b, h, r, table)
		if err := ipvs.ForgetProcOf(r); err != nil {
			b.Fatal(err)
		}
		*reads = ipvs.Reads{}
		tell(b, "use-without-proc-ms", repeat(b, 5, readUse(r, len(table))))
		b.ReportMetric(float64(reads.Answers)/5, "use-without-proc-answers")
	}
	b.ReportMetric(0, "ns/op")
}

// benchmarkWrites changes a weight over and over, first alone and then for as long as three reads of each kind take.
func benchmarkWrites(b *testing.B, h ipvs.Handle, r ipvs.StatsReader, table ipvs.Table) {
	b.Helper()
	key := table.Keys()[0]
	op := ipvs.Op{Verb: ipvs.SetReal, Key: key, RealKey: table[key].RealKeys()[0], Real: ipvs.RealServer{Weight: 2}}
	write := func(ctx context.Context) error { return h.Do(ctx, []ipvs.Op{op})[0] }
	tell(b, "write-alone-ms", repeat(b, 1000, write))
	ctx, stop := context.WithCancel(b.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		defer stop()
		for range 3 {
			for _, read := range []func(context.Context) error{readVirtuals(r, len(table)), readUse(r, len(table))} {
				if err := read(b.Context()); err != nil {
					b.Error(err)
				}
			}
		}
	})
	var took []time.Duration
	for ctx.Err() == nil {
		took = append(took, repeat(b, 1, write)...)
	}
	reader.Wait()
	tell(b, "write-beside-reads-ms", took)
}

func readVirtuals(r ipvs.StatsReader, want int) func(context.Context) error {
	return func(ctx context.Context) error {
		all, err := r.Virtuals(ctx)
		return enough(all, want, err)
	}
}

func readUse(r ipvs.StatsReader, want int) func(context.Context) error {
	return func(ctx context.Context) error {
		all, err := r.Use(ctx)
		return enough(all, want, err)
	}
}

// enough allows for the few entries that are missing while the namespace of another test goes away.
func enough[V any](all map[frontend.Key]V, want int, err error) error {
	if err == nil && len(all) < want*99/100 {
		return fmt.Errorf("%d of %d virtual servers", len(all), want)
	}
	return err
}

// repeat makes n calls and returns how long each took.
func repeat(b *testing.B, n int, call func(context.Context) error) []time.Duration {
	b.Helper()
	var took []time.Duration
	for range n {
		took = append(took, clock(func() {
			if err := call(b.Context()); err != nil {
				b.Fatal(err)
			}
		}))
	}
	return took
}

// tell prints the median as a metric, and what else matters.
func tell(b *testing.B, unit string, took []time.Duration) {
	b.Helper()
	took = slices.Sorted(slices.Values(took))
	middle, late, last := took[len(took)/2], took[len(took)*999/1000], took[len(took)-1]
	b.ReportMetric(middle.Seconds()*1000, unit)
	b.Logf("%-22s %d calls, median %v, 99.9 %% within %v, slowest %v", unit, len(took), middle, late, last)
}
