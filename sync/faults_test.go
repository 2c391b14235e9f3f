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
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// moments notes at which moments each frontend was written, in IPVS or in our nftables table. A pass takes no time in a bubble.
type moments struct {
	mu stdsync.Mutex
	of map[string]map[time.Time]struct{}
}

func (m *moments) note(keys ...frontend.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		what := "our table as a whole"
		if key != (frontend.Key{}) {
			what = key.String()
		}
		if m.of[what] == nil {
			m.of[what] = map[time.Time]struct{}{}
		}
		m.of[what][time.Now()] = struct{}{}
	}
}

// watchedFilter tells of what is written to our table, a key that is none standing for the whole, and loses some of the answers.
type watchedFilter struct {
	Filter
	writes *moments
	lost   func() error
}

func (f watchedFilter) Apply(ctx context.Context, c filter.Change) error {
	f.writes.note(c.Keys()...)
	if err := f.Filter.Apply(ctx, c); err != nil {
		return err
	}
	return f.lost()
}

func (f watchedFilter) Replace(ctx context.Context, rules filter.Rules) error {
	f.writes.note(frontend.Key{})
	if err := f.Filter.Replace(ctx, rules); err != nil {
		return err
	}
	return f.lost()
}

// forget begins anew.
func (m *moments) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.of)
}

// failureCount counts the operations that fail.
type failureCount struct {
	ipvs.Handle
	seen *tally
}

func (f failureCount) Do(ctx context.Context, ops []ipvs.Op) []error {
	results := f.Handle.Do(ctx, ops)
	for _, err := range results {
		f.seen.failed(err)
	}
	return results
}

// Of IPVS and of nft answers are lost too. No frontend, nor our table as a whole, is written in more than three passes after the last fault,
// and all is as wanted, and known to be so, once what failed last was tried again and the kernel was read back.
func TestThreePassesAfterTheLastFaultAllIsAsWanted(t *testing.T) {
	seen := newTally()
	for seed := range seeds(t, 40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				faultsEnd(t, kernel, nft, seed, seen)
			})
		})
	}
	if seen.n["IPVS fails"] == 0 || seen.n["nft fails"] == 0 {
		t.Errorf("there was no fault whose end is looked at: %v", seen.n)
	}
}

func faultsEnd(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake, seed uint64, seen *tally) {
	random, faults := rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 4))
	healed := false
	fault := func() error {
		if !healed && faults.IntN(10) < 4 {
			seen.fails("nft")
			return context.DeadlineExceeded
		}
		return nil
	}
	nft.SetFault(func(string) error { return fault() })
	var faulty *ipvsfake.FaultyHandle
	written := &moments{of: map[string]map[time.Time]struct{}{}}
	g := start(t, kernel, nft, func(c *Config) {
		faulty = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Rate: 0.1, Lossy: 0.1, Seed: seed})
		c.Kernel = &witness{failureCount{faulty, seen}, func(op ipvs.Op) { written.note(op.Key) }}
		c.SyncPeriod = 5 * time.Second
		c.Filter = watchedFilter{c.Filter, written, fault}
	})
	g.addresses.set("10.1.0.10", "10.2.0.10")
	names, choices := map[string]Service{}, &chaos{Rand: random}
	for range 60 {
		n := random.IntN(5)
		var endpoints []string
		for i := range 6 {
			if random.IntN(2) == 0 {
				endpoints = append(endpoints, fmt.Sprintf("10.244.1.%d:8080", i+2))
			}
		}
		svc := service(fmt.Sprintf("s%d", n), uint16(30080+n), endpoints...)
		svc.Ports[0].Scheduler = pick(choices, "rr", "wrr", "sh", "dh")
		svc = choices.flags(svc)
		if random.IntN(3) == 0 { // our table is written when it goes, and when it comes
			svc = gone(svc.ID.Name)
		}
		names[svc.ID.Name] = svc
		g.deliver(svc)
		g.after(time.Duration(random.IntN(3000)) * time.Millisecond)
	}
	faulty.Heal()
	healed = true
	written.forget()
	g.after(2*lastRetry + 2*g.SyncPeriod)
	synctest.Wait()

	want := NewState(g.Defaults)
	for _, svc := range names {
		want.Update(Update{Services: []Service{svc}})
	}
	want.SetPlaces(g.state.Places())
	want.Resolve()
	if diff := cmp.Diff(whole(want.Table()), whole(kernel.Table())); diff != "" {
		t.Errorf("the kernel's table (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Keys(), g.rules().Owned.Keys(), cmp.Comparer(sameKey), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("owned frontends (-want +got):\n%s", diff)
	}
	g.masquerades(all(want.Keys()...))
	for what, at := range written.of {
		if len(at) > 3 {
			t.Errorf("%s was written in %d passes after the last fault: %v", what, len(at), at)
		}
	}
	if h := g.Health(time.Now()); g.Status().Err != nil || !h.Ready {
		t.Errorf("it counts as failing: %v, %+v", g.Status().Err, h)
	}
}
