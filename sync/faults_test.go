package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// moments notes at which moments each frontend was written. A pass takes no time in a bubble.
type moments struct {
	ipvs.Handle
	mu stdsync.Mutex
	of map[frontend.Key]map[time.Time]struct{}
}

func (m *moments) Do(ctx context.Context, ops []ipvs.Op) []error {
	m.mu.Lock()
	for _, op := range ops {
		if m.of[op.Key] == nil {
			m.of[op.Key] = map[time.Time]struct{}{}
		}
		m.of[op.Key][time.Now()] = struct{}{}
	}
	m.mu.Unlock()
	return m.Handle.Do(ctx, ops)
}

// forget begins anew.
func (m *moments) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.of)
}

// No frontend is written in more than three passes after the last fault, and all is as wanted, and known to be so, once what failed last was
// tried again and the kernel was read back.
func TestThreePassesAfterTheLastFaultAllIsAsWanted(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) { faultsEnd(t, kernel, nft, seed) })
		})
	}
}

func faultsEnd(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake, seed uint64) {
	random, faults := rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 4))
	nft.SetFault(func(string) error {
		if faults.IntN(10) == 0 {
			return context.DeadlineExceeded
		}
		return nil
	})
	var faulty *ipvsfake.FaultyHandle
	written := &moments{}
	g := start(t, kernel, nft, func(c *Config) {
		faulty = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Rate: 0.1, Lossy: 0.1, Seed: seed})
		written.Handle, c.Kernel = faulty, written
		written.of = map[frontend.Key]map[time.Time]struct{}{}
	})
	g.addresses.set("10.1.0.10", "10.2.0.10")
	names := map[string]Service{}
	for range 60 {
		n := random.IntN(5)
		var endpoints []string
		for i := range 6 {
			if random.IntN(2) == 0 {
				endpoints = append(endpoints, fmt.Sprintf("10.244.1.%d:8080", i+2))
			}
		}
		svc := service(fmt.Sprintf("s%d", n), uint16(30080+n), endpoints...)
		svc.Ports[0].Scheduler = pick(&chaos{Rand: random}, "rr", "wrr", "sh", "dh")
		names[svc.ID.Name] = svc
		g.deliver(svc)
		g.after(time.Duration(random.IntN(3000)) * time.Millisecond)
	}
	faulty.Heal()
	nft.SetFault(nil)
	written.forget()
	g.after(2*lastRetry + 2*g.SyncPeriod)
	synctest.Wait()

	want := NewState(g.Defaults)
	for _, svc := range names {
		want.Update(Update{Services: []Service{svc}})
	}
	want.SetPlaces(g.state.Places())
	want.Resolve()
	if diff := cmp.Diff(brief(want.Table()), brief(kernel.Table())); diff != "" {
		t.Errorf("the kernel's table (-want +got):\n%s", diff)
	}
	for key, at := range written.of {
		if len(at) > 3 {
			t.Errorf("%s was written in %d passes after the last fault: %v", key, len(at), at)
		}
	}
	if h := g.Health(time.Now()); g.Status().Err != nil || !h.Ready {
		t.Errorf("it counts as failing: %v, %+v", g.Status().Err, h)
	}
}
