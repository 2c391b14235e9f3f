package sync

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestRestoringAFlushedRulesetIsTriedAgainSoon(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		before := g.rules()
		if err := nft.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		nft.SetFault(func(string) error { return errors.New("busy") })
		g.foreign <- struct{}{}
		g.after(rulesetPeriod)
		g.deliver() // a pass in between succeeds, and mends nothing
		if g.Status().Err == nil {
			t.Error("the failure is forgotten")
		}
		nft.SetFault(nil)
		g.after(2 * auditRetry)
		if after := g.rules(); !after.Equal(before) || g.Status().Err != nil {
			t.Errorf("after the flush %v (%v), want %v", after, g.Status().Err, before)
		}
	})
}

func TestNotReadyBeforeTheKernelCouldBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(func(string) error { return errors.New("not allowed") })
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.deliver(web("10.244.1.3:8080")) // a pass before the next try
		if h := g.Health(time.Now()); h.Ready || g.Status().Err == nil {
			t.Errorf("%+v, %v: want it not ready, with the reason", h, g.Status().Err)
		}
		nft.SetFault(nil)
		g.after(2 * auditRetry)
		if h := g.Health(time.Now()); !h.Ready {
			t.Errorf("%+v, want it ready", h)
		}
	})
}

func TestFailingTransactionHoldsItsOwnServiceOnly(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30081)))
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"), service("bad", 30081, "10.244.1.3:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if g.Status().Err == nil {
			t.Error("the failure is not reported")
		}
		nft.SetFault(nil)
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.3:8080*1")
		if err := g.Status().Err; err != nil {
			t.Errorf("still failing: %v", err)
		}
	})
}

func TestAddressThatCannotBeProtectedHoldsNoOtherAddressOfItsService(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(filtertest.Refuse(tcp("10.2.0.10", 30080)))
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.3:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*0 10.244.1.3:8080*1")
	})
}

func TestSchedulerThatTheKernelLacksIsReplacedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvsfake.New(ipvsfake.WithSchedulers("rr"))
		g := start(t, kernel, filtertest.New())
		g.serve(service("dns", 30053, "10.244.1.3:53"))
		svc, other := web("10.244.1.2:8080"), service("other", 30081, "10.244.1.4:8080")
		svc.Ports[0].Scheduler, other.Ports[0].Scheduler = "mh", "wlc"
		g.deliver(svc, other)
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.3:53*1", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1",
			"tcp://10.1.0.10:30081 rr 10.244.1.4:8080*1")
		var problems []string
		for _, p := range g.Status().Problems {
			problems = append(problems, fmt.Sprintf("%s %s", p.Object, p.Reason))
		}
		want := []string{"Service default/other kernel-refused", "Service default/web kernel-refused"}
		if diff := cmp.Diff(want, problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		if err := g.Status().Err; err != nil {
			t.Errorf("it is served, but counts as a failure: %v", err)
		}
	})
}

type lateModule struct {
	ipvs.Handle
	installed atomic.Bool
}

func (k *lateModule) ProbeScheduler(ctx context.Context, name string) error {
	if name == "mh" && !k.installed.Load() {
		return syscall.ENOENT
	}
	return k.Handle.ProbeScheduler(ctx, name)
}

func (k *lateModule) Do(ctx context.Context, ops []ipvs.Op) []error {
	results := make([]error, len(ops))
	for i, op := range ops {
		if op.Virtual.Scheduler == "mh" && !k.installed.Load() {
			results[i] = &ipvs.OpError{Op: op, Err: syscall.ENOENT}
			continue
		}
		results[i] = k.Handle.Do(ctx, ops[i:i+1])[0]
	}
	return results
}

func TestRefusedSchedulerIsUsedOnceTheKernelHasIt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		late := &lateModule{}
		g := start(t, kernel, nft, func(c *Config) { late.Handle, c.Kernel = c.Kernel, late })
		svc := web("10.244.1.2:8080")
		svc.Ports[0].Scheduler = "mh"
		g.serve(svc)
		refused := g.Counters().Refused
		g.after(time.Hour)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if diff := cmp.Diff(refused, g.Counters().Refused); diff != "" {
			t.Errorf("the scheduler was refused again (-then +now):\n%s", diff)
		}
		late.installed.Store(true)
		g.after(2 * refusalMemory)
		g.expect("tcp://10.1.0.10:30080 mh 10.244.1.2:8080*1")
		if problems := g.Status().Problems; len(problems) != 0 {
			t.Errorf("problems: %v", problems)
		}
	})
}

func TestMissingDefaultSchedulerIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, ipvsfake.New(ipvsfake.WithSchedulers("wrr")), filtertest.New())
		g.serve(web("10.244.1.2:8080"))
		if err := g.Status().Err; !ipvs.IsUnknownScheduler(err) {
			t.Errorf("the status says %v, want the missing scheduler", err)
		}
		if h := g.Health(time.Now()); h.Ready {
			t.Error("ready, although nothing is served")
		}
	})
}

func TestOrphanOfAnIncompleteInputIsNotTriedAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T, _ *ipvsfake.Kernel, _ *filtertest.Fake) {
		r := New(logr.Discard(), Config{})
		key := tcp("10.1.0.10", 30080)
		// It failed while a Service wanted it, which is gone by now.
		r.partial, r.nextAudit = true, time.Now().Add(time.Minute)
		r.orphans.add(key)
		r.postpone(key, errUnread)
		time.Sleep(firstRetry)
		r.program(t.Context(), r.dueRetries(time.Now()), &passReport{})
		if due := r.nextDue(); !due.After(time.Now()) {
			t.Error("it is due again at once")
		}
	})
}

type deafKernel struct{ ipvs.Handle }

func (deafKernel) Do(_ context.Context, ops []ipvs.Op) []error {
	results := make([]error, len(ops))
	for i, op := range ops {
		results[i] = &ipvs.OpError{Op: op, Err: ipvs.ErrUnknown}
	}
	return results
}

func TestFrontendThatNeverBecomesAsWantedIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.Kernel = deafKernel{c.Kernel} })
		g.serve(web("10.244.1.2:8080"))
		if g.Status().Err == nil {
			t.Error("nothing is served, and the status is fine")
		}
	})
}

func TestWhatCannotBeReplacedGoesOnServing(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		fresh := netip.MustParseAddrPort(leaves)
		var faulty *ipvsfake.FaultyHandle
		g := start(t, kernel, nft, func(c *Config) {
			once := ipvsfake.Fault{Verb: ipvs.AddReal, Real: fresh, Err: syscall.ENOMEM}
			// The first try and the second.
			faulty = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Once: []ipvsfake.Fault{once, once}})
			c.Kernel = faulty
		})
		g.serve(web(stays), service("dns", 30053, stays))
		for _, port := range []uint16{30053, 30080} {
			kernel.SetConnections(tcp("10.1.0.10", port), netip.MustParseAddrPort(stays), ipvs.Connections{Active: 1})
		}
		g.deliver(web(leaves), service("dns", 30053)) // every endpoint of web is another now; dns has none left
		g.after(firstRetry)
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.2:8080*0", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if left := faulty.Unconsumed(); len(left) > 0 {
			t.Errorf("never happened: %v", left)
		}
		g.after(2 * firstRetry)
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.2:8080*0", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*0 10.244.2.2:8080*1")
	})
}

func TestOneBadFrontendAmongManyIsFoundWithFewTransactions(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		tried := 0
		nft.SetFault(func(transaction string) error {
			tried++
			return filtertest.Refuse(tcp("10.1.0.10", 30008))(transaction)
		})
		g := start(t, kernel, nft)
		var services []Service
		for i := range 64 {
			services = append(services, service(fmt.Sprintf("s%d", i), uint16(30000+i), stays))
		}
		g.serve(services...)
		if n := len(kernel.Table()); n != 63 {
			t.Errorf("%d Services are served, want all but one", n)
		}
		if tried > 20 {
			t.Errorf("%d transactions were tried", tried)
		}
	})
}
