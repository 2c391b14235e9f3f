package kube

import (
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// What waits between the API server and the kernel is a small part of what there is, however much comes at once.
func TestABurstOfEventsNeedsNoMoreMemoryThanTheObjectsThatItIsAbout(t *testing.T) {
	const services = 500
	defer debug.SetGCPercent(debug.SetGCPercent(5)) // The peak is of what was in use, not of what was left lying about.
	peak := watchLiveHeap(t)
	synctest.Test(t, func(t *testing.T) {
		s := apiServer(t, node("node-a", "10.1.0.10"))
		var objects []apitest.Object
		for i := range services {
			objects = append(objects, webService(fmt.Sprintf("svc-%d", i), int32(30000+i)), manyEndpoints(i, 0))
		}
		s.Set(objects...)
		s.Compact()
		// The server's memory of its events is that of a few objects: what grows is the agent's.
		var versions []apitest.Object
		for i := range 4 * services {
			o := manyEndpoints(i%services, 1+i/services)
			o.ResourceVersion = strconv.Itoa(1_000_000 + i)
			versions = append(versions, o)
		}
		empty := heapInUse()
		a := startAgent(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		held := heapInUse() - empty
		for _, events := range []int{burst, 2 * burst} {
			s.Silence(true)
			for i := range events {
				s.Send(watch.Modified, versions[i%len(versions)])
			}
			synctest.Wait()
			before := heapInUse() // with the events that the server remembers
			peak.Store(before)
			passes := a.passes.Load()
			s.Silence(false)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			most := peak.Load() - before
			s.Compact()
			time.Sleep(time.Minute)
			after := heapInUse() - empty
			t.Logf("%d objects take %d KiB; %d events: %d KiB more at most, %d passes; %d KiB in the end",
				2*services, held>>10, events, most>>10, a.passes.Load()-passes, after>>10)
			if most > 4*held {
				t.Errorf("%d events take %d KiB more, %d objects %d", events, most>>10, 2*services, held>>10)
			}
			for _, line := range a.table() {
				if !strings.Contains(line, " 10.1.0.4:8080*1") { // of the last version
					t.Fatalf("not served as it should be: %s", line)
				}
			}
		}
	})
}

// manyEndpoints is a version of the slice of a Service.
func manyEndpoints(service, version int) *discoveryv1.EndpointSlice {
	var addresses []string
	for i := range 10 {
		addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d", 1+i, version/250, version%250))
	}
	return sliceOf(fmt.Sprintf("svc-%d", service), addresses...)
}

// watchLiveHeap returns the most that collections of garbage have found in use, in bytes. It looks in real time, outside of bubbles.
func watchLiveHeap(t *testing.T) *atomic.Int64 {
	t.Helper()
	peak, done, ended := new(atomic.Int64), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		often := time.NewTicker(time.Millisecond)
		defer often.Stop()
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for {
			metrics.Read(live)
			for now := int64(live[0].Value.Uint64()); ; { //nolint:gosec // a heap
				was := peak.Load()
				if now <= was || peak.CompareAndSwap(was, now) {
					break
				}
			}
			select {
			case <-done:
				return
			case <-often.C:
			}
		}
	}()
	t.Cleanup(func() { close(done); <-ended })
	return peak
}
