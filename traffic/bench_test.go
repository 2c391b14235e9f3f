package traffic

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// BenchmarkScrape is what a scrape costs at 2,700 Service ports of ten endpoints on two addresses, in CPU of all threads: from
// the kernel's answers to text, for traffic on none of them since the last one.
func BenchmarkScrape(b *testing.B) {
	for _, detail := range []Detail{Services, Endpoints} {
		k := busy(2700)
		g := full(b, k, detail)
		b.Run(string(detail), func(b *testing.B) {
			perRun(b, func() { encode(b, gather(b, g)) })
		})
		g.o.MaxAge = time.Hour
		b.Run(string(detail)+" of a sample that is there", func(b *testing.B) {
			perRun(b, func() { encode(b, gather(b, g)) })
		})
		b.Run(string(detail)+" without text", func(b *testing.B) {
			perRun(b, func() { gather(b, g) })
		})
	}
	k := busy(2700)
	m := full(b, k, None).meter
	b.Run("sample", func(b *testing.B) {
		perRun(b, func() { sampleNow(b, m) })
	})
	b.Run("kernel", func(b *testing.B) {
		perRun(b, func() { k.answers(b) })
	})
}

// perRun measures the CPU of run.
func perRun(b *testing.B, run func()) {
	b.Helper()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64((cpu(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
}

// cpu is what the process has used so far, user and system.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// full is a Gatherer that leaves nothing out, of a meter that has read all there is.
func full(tb testing.TB, k *kernel, detail Detail) *Gatherer {
	tb.Helper()
	m := NewMeter(k, k.serving, Options{MaxReads: 6000})
	sampleNow(tb, m)
	return NewGatherer(prometheus.NewRegistry(), m, GathererOptions{Detail: detail, Limit: 100_000})
}

func gather(tb testing.TB, g *Gatherer) []*dto.MetricFamily {
	tb.Helper()
	families, done, err := g.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	done()
	return families
}

func encode(tb testing.TB, families []*dto.MetricFamily) {
	tb.Helper()
	e := expfmt.NewEncoder(io.Discard, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			tb.Fatal(err)
		}
	}
}
