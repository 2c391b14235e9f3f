package traffic

import (
	"runtime"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// The budgets are per Service port and per series, so that a part of the size that BenchmarkScrape has will do.
const budgetPorts = 150

func TestAScrapeAllocatesByTheFamilyAndNotByTheSeries(t *testing.T) {
	g := full(t, busy(budgetPorts), Endpoints)
	g.o.MaxAge = time.Hour
	lines := count(gather(t, g))
	if want := budgetPorts * (9 + 10*9); lines < want {
		t.Fatalf("only %d series, want %d", lines, want)
	}
	allocations, size := allocated(func() { gather(t, g) })
	if allocations > 400 || size > 300*lines {
		t.Errorf("%d allocations, %d bytes for each of %d series; the budget is 400, and 300 bytes", allocations, size/lines, lines)
	}
}

func TestASampleAllocatesByTheServicePort(t *testing.T) {
	k := busy(budgetPorts)
	m := full(t, k, None).meter
	// What the test's own kernel answers is made anew each time too.
	kernel, _ := allocated(func() { k.answers(t) })
	allocations, _ := allocated(func() { sampleNow(t, m) })
	if perPort := (allocations - kernel) / budgetPorts; perPort > 6 {
		t.Errorf("%d allocations for each Service port of ten endpoints; the budget is 6", perPort)
	}
}

// Encoding is what any exporter has to do, on this machine, under this load: the rest may take twice as long at most. It takes
// half as long.
func TestAScrapeTakesNoLongerThanItsEncoding(t *testing.T) {
	g := full(t, busy(budgetPorts), Endpoints)
	families := gather(t, g)
	best := func(run func()) time.Duration {
		shortest := time.Hour
		for range 3 {
			runtime.GC()
			before := cpu(t)
			run()
			shortest = min(shortest, cpu(t)-before)
		}
		return shortest
	}
	encoding := best(func() { encode(t, families) })
	gathering := best(func() { gather(t, g) })
	if gathering > 2*encoding {
		t.Errorf("gathering took %v of CPU, encoding %v: the budget is twice as much", gathering, encoding)
	}
	t.Logf("gathering %v, encoding %v", gathering, encoding)
}

func count(families []*dto.MetricFamily) int {
	n := 0
	for _, f := range families {
		n += len(f.Metric)
	}
	return n
}

// allocated is how many allocations run makes, and of how many bytes.
func allocated(run func()) (allocations, size int) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	return int(after.Mallocs - before.Mallocs), int(after.TotalAlloc - before.TotalAlloc)
}
