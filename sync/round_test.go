package sync

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// auditedKernel counts the comparisons of audits, each of which takes a while, and may fail.
type auditedKernel struct {
	ipvs.Handle
	takes   time.Duration
	refuses atomic.Pointer[frontend.Key] // which virtual server cannot be read
	asked   atomic.Pointer[func()]       // is called whatever is asked

	mu   stdsync.Mutex
	read []time.Time
	keys []frontend.Key
}

func (k *auditedKernel) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	if each != nil { // a look at who leaves
		return k.Handle.SameReals(ctx, key, reals, each)
	}
	k.work()
	k.mu.Lock()
	k.read, k.keys = append(k.read, time.Now()), append(k.keys, key)
	k.mu.Unlock()
	if bad := k.refuses.Load(); bad != nil && *bad == key {
		return false, errUnreadable
	}
	return k.Handle.SameReals(ctx, key, reals, nil)
}

func (k *auditedKernel) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	if bad := k.refuses.Load(); bad != nil && *bad == key {
		return ipvs.Entry{}, nil, errUnreadable
	}
	return k.Handle.Get(ctx, key)
}

func (k *auditedKernel) Do(ctx context.Context, ops []ipvs.Op) []error {
	if k.asked.Load() != nil {
		k.work()
	}
	return k.Handle.Do(ctx, ops)
}

func (k *auditedKernel) work() {
	time.Sleep(k.takes)
	if asked := k.asked.Load(); asked != nil {
		(*asked)()
	}
}

// reads are when virtual servers were compared since the last call, and which.
func (k *auditedKernel) reads() ([]time.Time, []frontend.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	read, keys := k.read, k.keys
	k.read, k.keys = nil, nil
	return read, keys
}

// numbered are so many Services on ports from 30000 on.
func numbered(n int) []Service {
	services := make([]Service, n)
	for i := range services {
		services[i] = service(fmt.Sprintf("s%d", i), uint16(30000+i), "10.244.1.2:8080")
	}
	return services
}

// audited runs a reconciler that serves so many Services, up to its second audit.
func audited(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake, services int, takes time.Duration) (*rig, *auditedKernel) {
	t.Helper()
	k := &auditedKernel{takes: takes}
	g := start(t, kernel, nft, func(c *Config) { k.Handle, c.Kernel = c.Kernel, k })
	g.serve(numbered(services)...)
	if read, _ := k.reads(); len(read) > 0 {
		t.Fatalf("%d virtual servers were compared at the start", len(read))
	}
	g.after(30 * time.Second)
	return g, k
}

func TestASmallTableIsAuditedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := audited(t, kernel, nft, smallRound, 0)
		if read, _ := k.reads(); len(read) != smallRound {
			t.Errorf("%d of %d virtual servers were compared", len(read), smallRound)
		}
		if !g.Status().Audited.Equal(time.Now()) {
			t.Errorf("the audit ended at %s", g.Status().Audited)
		}
	})
}

func TestAnAuditOfNothingEndsToo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve()
		g.after(5 * time.Minute)
		if since := time.Since(g.Status().Audited); since > 30*time.Second {
			t.Errorf("the last audit ended %s ago", since)
		}
	})
}

func TestALargeTableIsAuditedInSlicesSpreadOverThePeriod(t *testing.T) {
	const services = 300
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := audited(t, kernel, nft, services, 0)
		begin := time.Now()
		g.after(30*time.Second - time.Millisecond)
		read, keys := k.reads()
		slices.SortFunc(keys, frontend.Key.Compare)
		if len(slices.Compact(keys)) != services || len(read) != services {
			t.Fatalf("%d comparisons of %d virtual servers, want one of each of %d", len(read), len(slices.Compact(keys)), services)
		}
		inSecond := map[time.Duration]int{}
		for _, at := range read {
			inSecond[at.Sub(begin)/time.Second]++
		}
		for second, n := range inSecond {
			if n > services/20 {
				t.Errorf("%d virtual servers were compared in second %d", n, second)
			}
		}
		if ended := g.Status().Audited; !ended.Equal(read[services-1]) {
			t.Errorf("the audit ended at %s, and the last comparison was at %s", ended, read[services-1])
		}
		passes := g.Counters().Passes
		g.after(time.Millisecond)
		if n := g.Counters().Passes - passes; n != 1 {
			t.Errorf("%d passes for an audit", n)
		}
	})
}

func TestDriftOfRealServersInALargeTableIsRepairedWithinAPeriod(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, _ := audited(t, kernel, nft, 200, 0)
		want := brief(kernel.Table())
		real, strange := netip.MustParseAddrPort("10.244.1.2:8080"), netip.MustParseAddrPort("10.9.9.9:1")
		for _, err := range kernel.Open().Do(t.Context(), []ipvs.Op{
			{Verb: ipvs.SetReal, Key: tcp(at1, 30000), RealKey: real, Real: ipvs.RealServer{Weight: 7}},
			{Verb: ipvs.AddReal, Key: tcp(at1, 30100), RealKey: strange, Real: ipvs.RealServer{Weight: 1}},
			{Verb: ipvs.DelReal, Key: tcp(at1, 30199), RealKey: real},
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		g.after(30 * time.Second)
		if n := g.Counters().Drift; n != 3 {
			t.Errorf("drift counted %d times, want 3", n)
		}
		g.after(10 * time.Second) // the strange one drains
		g.expect(want...)
	})
}

// Virtual servers that are missing or configured otherwise keep clients out, and are seen by the first dump.
func TestDriftOfVirtualServersInALargeTableIsRepairedWithTheBeginningOfAnAudit(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, _ := audited(t, kernel, nft, 200, 0)
		want := brief(kernel.Table())
		g.after(29 * time.Second)
		for _, err := range kernel.Open().Do(t.Context(), []ipvs.Op{
			{Verb: ipvs.SetVirtual, Key: tcp(at1, 30000), Virtual: ipvs.VirtualServer{Scheduler: "wrr"}},
			{Verb: ipvs.DelVirtual, Key: tcp(at1, 30199)},
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		g.after(time.Second)
		g.expect(want...)
		if n := g.Counters().Drift; n != 2 {
			t.Errorf("drift counted %d times, want 2", n)
		}
	})
}

func TestAChangeWaitsForOneComparisonOfAnAudit(t *testing.T) {
	const takes = 15 * time.Millisecond
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := audited(t, kernel, nft, 300, takes) // four and a half seconds in all
		k.reads()
		for i := range 200 {
			time.Sleep(131 * time.Millisecond)
			endpoint := fmt.Sprintf("10.244.2.%d:8080", i)
			begin := time.Now()
			g.source.deliver(func(u *Update) { u.Services = append(u.Services, service("s7", 30007, endpoint)) })
			for kernel.Table()[tcp(at1, 30007)].Reals[netip.MustParseAddrPort(endpoint)].Weight == 0 {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			if waited := time.Since(begin); waited > takes+time.Millisecond {
				t.Errorf("change %d waited for %s", i, waited)
			}
		}
		if read, _ := k.reads(); len(read) < 250 {
			t.Errorf("the test saw %d comparisons: it was meant to meet them", len(read))
		}
	})
}

func TestAQuestionWaitsForOneComparisonOfAnAudit(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, _ := audited(t, kernel, nft, 300, 10*time.Millisecond)
		g.after(5060 * time.Millisecond) // in the middle of a slice, which takes an eighth of a second
		begin := time.Now()
		err := g.Ask(t.Context(), func(*State) {})
		if waited := time.Since(begin); err != nil || waited > 10*time.Millisecond {
			t.Errorf("the answer took %s, %v", waited, err)
		}
	})
}

// Whatever the kernel is asked, something else has changed by the time it answers.
func TestAnAuditEndsInItsPeriodHoweverOftenSomethingChanges(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := audited(t, kernel, nft, 300, 10*time.Millisecond)
		begin := time.Now()
		n := 0
		change := func() {
			n++
			g.source.deliver(func(u *Update) {
				u.Services = []Service{service("s7", 30007, fmt.Sprintf("10.244.2.%d:8080", n%200))}
			})
		}
		k.reads()
		k.asked.Store(&change)
		change()
		g.after(30*time.Second - time.Millisecond)
		if read, _ := k.reads(); len(read) != 300 || !g.Status().Audited.After(begin) {
			t.Errorf("%d of 300 virtual servers were compared, the last audit ended %s after the beginning", len(read), g.Status().Audited.Sub(begin))
		}
		if n < 500 {
			t.Errorf("the test made %d changes: it was meant to make many", n)
		}
		k.asked.Store(nil)
	})
}

func TestAVirtualServerThatCannotBeReadDoesNotKeepTheOthersFromBeingRead(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, k := audited(t, kernel, nft, 200, 0)
		g.after(29 * time.Second)
		ended := g.Status().Audited
		bad := tcp(at1, 30100)
		k.refuses.Store(&bad)
		k.reads()
		g.after(30 * time.Second)
		if _, keys := k.reads(); len(keys) != 200 {
			t.Errorf("%d comparisons, want 200", len(keys))
		}
		if s := g.Status(); s.Err == nil || !s.Audited.Equal(ended) {
			t.Errorf("error %v, and an audit that ended at %s counts as one that read everything", s.Err, s.Audited)
		}
		if len(g.Status().Problems) == 0 {
			t.Error("its Service has no problem")
		}
		k.refuses.Store(nil)
		g.after(time.Minute)
		if s := g.Status(); s.Err != nil || !s.Audited.After(ended) || len(s.Problems) > 0 || g.Counters().Drift > 0 {
			t.Errorf("error %v, last audit at %s, problems %v, drift %d", s.Err, s.Audited, s.Problems, g.Counters().Drift)
		}
	})
}

func TestARoundThatWasCutOffIsGoneOnWithByTheNext(t *testing.T) {
	table := ipvs.Table{}
	for i := range uint16(100) {
		table[tcp(at1, 30000+i)] = ipvs.Entry{}
	}
	var a auditRound
	now := time.Now()
	a.begin(now, 30*time.Second, table)
	a.done = 40
	delete(table, tcp(at1, 30040)) // the one that would have come next
	now = now.Add(30 * time.Second)
	a.begin(now, 30*time.Second, table)
	if first, last := a.key(0), a.key(98); first != tcp(at1, 30041) || last != tcp(at1, 30039) {
		t.Errorf("from %s to %s", first, last)
	}
	if a.next != now || a.planned(now) < 1 || a.planned(now) > 100/leastSlices {
		t.Errorf("it begins in %s, with %d of 99", a.next.Sub(now), a.planned(now))
	}
	a.wait(now)
	if a.next != now.Add(a.every) {
		t.Errorf("it goes on in %s, want %s", a.next.Sub(now), a.every)
	}
	a.done = 99
	a.begin(now, 30*time.Second, table)
	if first := a.key(0); first != tcp(at1, 30000) {
		t.Errorf("after a whole round it begins with %s", first)
	}
	if a.next != now.Add(a.every) {
		t.Errorf("after a whole round it begins in %s, want %s", a.next.Sub(now), a.every)
	}
}

// behind is a reconciler whose round should have read all of so many virtual servers by now, and has read none. It runs no loop.
func behind(kernel *ipvsfake.Kernel, takes time.Duration, services int) (*Reconciler, *auditedKernel) {
	k := &auditedKernel{Handle: kernel.Open(), takes: takes}
	r := New(logr.Discard(), Config{Kernel: k, Source: newSource(), Addresses: &addresses{changed: make(chan struct{}, 1)}})
	for i := range services {
		r.have.put(tcp(at1, uint16(30000+i)), ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}})
	}
	r.round.begin(time.Now(), 30*time.Second, r.have.table)
	time.Sleep(30 * time.Second)
	return r, k
}

func TestAChangeWaitsNoLongerForARoundThatIsBehind(t *testing.T) {
	const takes = time.Millisecond
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, _ *filtertest.Fake) {
		for _, err := range kernel.Open().Do(t.Context(), virtuals(200)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, press := range map[string]func(*Reconciler, *passReport){
			"of the pass":    func(_ *Reconciler, p *passReport) { p.sync = true },
			"of Services":    func(r *Reconciler, _ *passReport) { r.Source.(*source).deliver(func(*Update) {}) },
			"of addresses":   func(r *Reconciler, _ *passReport) { r.Addresses.(*addresses).set(at1) },
			"of none at all": func(*Reconciler, *passReport) {},
		} {
			r, k := behind(kernel, takes, 200)
			p, begin := &passReport{}, time.Now()
			press(r, p)
			due := r.goOn(t.Context(), p)
			took := time.Since(begin)
			read, _ := k.reads()
			if len(due) > 0 || p.err() != nil {
				t.Errorf("a change %s: %v are due, %v", name, due, p.err())
			}
			switch pressed := name != "of none at all"; {
			case pressed && (took <= pressedBudget-takes || took > pressedBudget+takes || r.round.next.After(time.Now())):
				t.Errorf("a change %s waited for %s, and the round goes on in %s", name, took, time.Until(r.round.next))
			case !pressed && len(read) != 200:
				t.Errorf("%d of 200 were read", len(read))
			}
		}
	})
}

func TestATableTooLargeForAPeriodIsAuditedOverSeveral(t *testing.T) {
	const services = 3000 // 2,400 can be compared in a period
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		k := &auditedKernel{}
		g := start(t, kernel, nft, func(c *Config) { k.Handle, c.Kernel = c.Kernel, k })
		g.serve(numbered(services)...)
		g.after(30 * time.Second)
		begin := time.Now()
		k.reads()
		g.after(60*time.Second - time.Millisecond) // an audit begins in the middle
		read, keys := k.reads()
		slices.SortFunc(keys, frontend.Key.Compare)
		if n := len(slices.Compact(keys)); n != services || len(read) != services {
			t.Fatalf("%d comparisons of %d virtual servers, want one of each of %d", len(read), n, services)
		}
		if !g.Status().Audited.Equal(read[services-1]) {
			t.Errorf("the audit ended at %s, and the last comparison was at %s", g.Status().Audited, read[services-1])
		}
		inSecond := map[time.Duration]int{}
		for _, at := range read {
			inSecond[at.Sub(begin)/time.Second]++
		}
		for second, n := range inSecond {
			if n > comparedPerSecond {
				t.Errorf("%d virtual servers were compared in second %d", n, second)
			}
		}
		real := netip.MustParseAddrPort("10.244.1.2:8080")
		errs := kernel.Open().Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelVirtual, Key: tcp(at1, 30000)}, {Verb: ipvs.SetReal, Key: tcp(at1, 30001), RealKey: real, Real: ipvs.RealServer{Weight: 7}}})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		g.after(30 * time.Second) // virtual servers are read with each audit, whatever the round does
		if _, there := kernel.Table()[tcp(at1, 30000)]; !there {
			t.Error("a virtual server that is gone is not back after a period")
		}
		g.after(30 * time.Second)
		if weight := kernel.Table()[tcp(at1, 30001)].Reals[real].Weight; weight != 1 {
			t.Errorf("the weight of a real server is %d after a round", weight)
		}
	})
}

func TestARoundThatCannotReadOneMakesAPause(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, _ *filtertest.Fake) {
		r, k := behind(kernel, 0, 200) // the kernel has none of them
		for _, err := range kernel.Open().Do(t.Context(), virtuals(200)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		bad := r.round.key(2)
		k.refuses.Store(&bad)
		due := r.goOn(t.Context(), &passReport{})
		if _, keys := k.reads(); len(keys) != 3 || !slices.Equal(due, []frontend.Key{bad}) || !r.round.next.After(time.Now()) || !r.round.failed {
			t.Errorf("%d were read, %v are due, the round goes on in %s", len(keys), due, time.Until(r.round.next))
		}
	})
}

// virtuals make so many virtual servers without real servers.
func virtuals(n int) []ipvs.Op {
	ops := make([]ipvs.Op, n)
	for i := range ops {
		ops[i] = ipvs.Op{Verb: ipvs.AddVirtual, Key: tcp(at1, uint16(30000+i)), Virtual: ipvs.VirtualServer{Scheduler: "rr"}}
	}
	return ops
}

func TestARoundIsOverBeforeTheAuditThatCutsItOffWhateverThePeriod(t *testing.T) {
	for _, period := range []time.Duration{time.Nanosecond, time.Second, 5 * time.Second, 30 * time.Second, 24 * time.Hour} {
		for _, n := range []int{0, 1, smallRound, smallRound + 1, 5400, 20000} {
			table := ipvs.Table{}
			for i := range n {
				table[tcp(at1, uint16(30000+i))] = ipvs.Entry{}
			}
			var a auditRound
			begin := time.Now()
			a.begin(begin, period, table)
			most, end := 0, begin
			for slice := 0; !a.over() && slice < 100000; slice++ {
				end = a.next
				plan := a.planned(end)
				most, a.done = max(most, plan-a.done), plan
				a.wait(end)
			}
			took := end.Sub(begin) + a.span/slackPart
			if whole := a.time(period); !a.over() || took > whole || whole%period != 0 {
				t.Errorf("period %s: %d of %d are read after %s at the latest, want %s", period, a.done, n, took, whole)
			}
			if rate := float64(n) / a.span.Seconds(); !a.small() && rate > comparedPerSecond {
				t.Errorf("period %s: %d are read with %.0f in a second", period, n, rate)
			}
			if whole := a.time(period); period > time.Minute && whole != period {
				t.Errorf("period %s: %d take %s", period, n, whole)
			}
			if limit := n/leastSlices + smallRound + 1; period > time.Nanosecond && most > limit {
				t.Errorf("period %s: %d of %d are read at once, want %d at most", period, most, n, limit)
			}
		}
	}
}
