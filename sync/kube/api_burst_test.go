package kube

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// burst is how many events come at once.
const burst = 10_000

func TestABurstOfEventsIsTakenInByFewPassesAndLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const services = 500
		s := apiServer(t, node("node-a", "10.1.0.10"))
		var events []apitest.Object
		for i := range services {
			events = append(events, webService(fmt.Sprintf("svc-%d", i), int32(30000+i)))
		}
		for i := range burst {
			events = append(events, sliceOf(fmt.Sprintf("svc-%d", i%services), fmt.Sprintf("10.0.%d.1", i/services)))
		}
		s.Set(events[:2*services]...)
		var want []string
		for i := range services {
			want = append(want, fmt.Sprintf("tcp://10.1.0.10:%d 10.0.%d.1:8080*1", 30000+i, burst/services-1))
		}
		a := startAgent(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.Compact()
		passes, heap := a.passes.Load(), heapInUse()
		s.Set(events[2*services:]...)
		took := a.within(5*time.Second, want...)
		s.Compact() // which is the server's memory
		time.Sleep(time.Minute)
		passes = a.passes.Load() - passes
		grown := (heapInUse() - heap) >> 10
		t.Logf("%d events are served after %v, with %d passes; %d KiB more in use afterwards", burst-services, took, passes, grown)
		if passes > 60 {
			t.Errorf("%d passes", passes)
		}
		if grown > 4<<10 {
			t.Errorf("%d KiB more in use", grown)
		}
	})
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Whatever it is waiting for, the agent ends at once: SIGTERM must not take as long as an API server is busy. There is one that
// it sleeps through, up to half a minute: a streaming list that begins well and then says 429 (client-go v0.37, Reflector.watchList).
func TestTheAgentEndsAtOnceWhateverTheAPIServerDoes(t *testing.T) {
	for name, fault := range map[string]apitest.Fault{
		"429":                       apitest.Status(429, 0),
		"429 with Retry-After":      apitest.Status(429, time.Minute),
		"500":                       apitest.Status(500, 0),
		"503 with Retry-After":      apitest.Status(503, time.Minute),
		"does not answer":           apitest.Hang,
		"answers no more than OK":   apitest.HangAfterHeaders,
		"resets connections":        apitest.Reset,
		"answers a byte in a while": apitest.Slow(1, time.Minute),
	} {
		for when, since := range map[string]time.Duration{"from the start": 0, "later": time.Minute} {
			t.Run(name+"/"+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
					if since == 0 {
						s.Fail("", fault)
					}
					a := startAgent(t, s)
					time.Sleep(since)
					s.Fail("", fault)
					s.EndWatches()
					s.Break()
					s.Set(apiSlice("10.0.0.2")) // which nobody hears of: the fault is there
					time.Sleep(5*time.Minute + 17*time.Second)
					var served []string
					if since > 0 {
						served = []string{serving("10.0.0.1")}
					}
					a.within(0, served...)
					began := time.Now()
					a.stop()
					if took := time.Since(began); took > time.Second {
						t.Errorf("the agent ends after %v", took)
					}
				})
			})
		}
	}
}
