package sync

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// replaceFilter notes when the whole table is written.
type replaceFilter struct {
	Filter
	at *[]time.Time
}

func (f replaceFilter) Replace(ctx context.Context, rules filter.Rules) error {
	*f.at = append(*f.at, time.Now())
	return f.Filter.Replace(ctx, rules)
}

// pauses are the times between tries.
func pauses(at []time.Time) []time.Duration {
	var p []time.Duration
	for i := 1; i < len(at); i++ {
		p = append(p, at[i].Sub(at[i-1]))
	}
	return p
}

// A node without a Service that needs protection makes its table too, and changes of what is not protected go on meanwhile.
func TestATableThatCannotBeMadeIsTriedLessAndLessOftenWhateverChanges(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(func(string) error { return errors.New("no nft here") })
		var tries []time.Time
		g := start(t, kernel, nft, func(c *Config) { c.Filter, c.SyncPeriod = replaceFilter{c.Filter, &tries}, time.Hour })
		g.serve()
		for i := range 1200 { // two minutes
			g.addresses.set("10.1.0.10", fmt.Sprintf("10.1.0.%d", 11+i%2))
			g.after(100 * time.Millisecond)
		}
		if n := len(tries); n < 6 || n > 12 {
			t.Errorf("in two minutes it was tried %d times: %s", n, pauses(tries))
		}
		if !slices.IsSorted(pauses(tries)) {
			t.Errorf("the pauses are %s", pauses(tries))
		}
		if g.Status().Err == nil {
			t.Error("the failure is forgotten between two tries")
		}
		nft.SetFault(nil)
		g.after(lastRetry)
		if err := g.Status().Err; err != nil {
			t.Errorf("still failing: %v", err)
		}
		made := len(tries)
		if g.after(time.Minute); len(tries) != made {
			t.Errorf("it was made %d times more", len(tries)-made)
		}
	})
}

// Whatever changes meanwhile: each change is a pass.
func TestATableThatCannotBeMadeIsToldOncePerTry(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = time.Hour })
		lines := 0
		g.log = funcr.New(func(_, args string) {
			if strings.Contains(args, "will be tried again") {
				lines++
			}
		}, funcr.Options{})
		nft.SetFault(func(string) error { return errors.New("no nft here") })
		g.serve()
		for i := range 1200 { // two minutes
			g.addresses.set("10.1.0.10", fmt.Sprintf("10.1.0.%d", 11+i%2))
			g.after(100 * time.Millisecond)
		}
		if lines < 6 || lines > 12 {
			t.Errorf("%d lines of log in two minutes", lines)
		}
		if s := g.Status(); s.Err == nil || s.FailingSince.IsZero() {
			t.Errorf("%v, failing since %s", s.Err, s.FailingSince)
		}
	})
}

// Where this node's pods are comes with the table, and is not waited for beside it.
func TestATableThatCannotBeMadeLeavesTheAgentAtRestBetweenTwoTries(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(func(string) error { return errors.New("no nft here") })
		g := start(t, kernel, nft, func(c *Config) {
			c.PodsByInterface, c.Pods = false, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
		})
		g.stop() // the loop would go round and round here
		g.serve(web(stays))
		if err := g.awaitInput(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.pass(t.Context())
		if due := g.nextDue(); !due.After(time.Now()) {
			t.Errorf("the next pass was due at %s, before %s", due, time.Now())
		}
	})
}

// attempts notes when an operation on a real server is tried, and refuses it.
type attempts struct {
	ipvs.Handle
	real netip.AddrPort
	err  func() error
	at   []time.Time
}

func (a *attempts) Do(ctx context.Context, ops []ipvs.Op) []error {
	results := make([]error, len(ops))
	for i, op := range ops {
		if err := a.err(); err != nil && op.RealKey == a.real {
			a.at = append(a.at, time.Now())
			results[i] = &ipvs.OpError{Op: op, Err: err}
			continue
		}
		results[i] = a.Handle.Do(ctx, ops[i:i+1])[0]
	}
	return results
}

// The pauses double up to a bound, also beside changes of others, and the last try is not far behind the end of the fault.
func TestWhatTheKernelRefusesIsTriedLessAndLessOften(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var mended atomic.Bool
		refusing := &attempts{real: netip.MustParseAddrPort(leaves), err: func() error {
			if mended.Load() {
				return nil
			}
			return errors.New("no memory")
		}}
		g := start(t, kernel, nft, func(c *Config) { refusing.Handle, c.Kernel, c.SyncPeriod = c.Kernel, refusing, time.Hour })
		g.serve(web(stays))
		g.deliver(web(stays, leaves))
		for i := range 240 { // four minutes
			g.deliver(service("other", 30081, fmt.Sprintf("10.244.1.%d:80", 10+i%2)))
			g.after(time.Second)
		}
		want := []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry, 8 * firstRetry, 16 * firstRetry, 32 * firstRetry, lastRetry, lastRetry}
		got := pauses(refusing.at)
		for i, p := range got {
			if p < want[min(i, len(want)-1)] || p > want[min(i, len(want)-1)]+time.Second {
				t.Errorf("the pauses are %s, want about %s", got, want)
				break
			}
		}
		if n := len(got); n < len(want) {
			t.Errorf("it was tried %d times", n)
		}
		mended.Store(true)
		g.after(lastRetry)
		synctest.Wait()
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.11:80*1")
	})
}

// However often a Service changes while nft or the kernel refuses it: the next try is not further away than the first failure.
func TestNobodyWaitsForLongerThanItHasFailed(t *testing.T) {
	for _, failed := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, 20 * time.Second} {
		for name, refuse := range map[string]func(*Config, *filtertest.Fake, func() error){
			"nftables": func(_ *Config, nft *filtertest.Fake, fault func() error) {
				nft.SetFault(func(string) error { return fault() })
			},
			"IPVS": func(c *Config, _ *filtertest.Fake, fault func() error) {
				c.Kernel = &attempts{Handle: c.Kernel, err: fault, real: netip.MustParseAddrPort(leaves)}
			},
		} {
			t.Run(fmt.Sprintf("%s %s", name, failed), func(t *testing.T) {
				bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
					var broken atomic.Bool
					g := start(t, kernel, nft, func(c *Config) {
						c.SyncPeriod = time.Hour
						refuse(c, nft, func() error {
							if broken.Load() {
								return errors.New("no memory")
							}
							return nil
						})
					})
					g.serve(service("other", 30081, stays))
					broken.Store(true)
					for i := range failed / (100 * time.Millisecond) {
						svc := web(leaves)
						svc.Ports[0].Scheduler = []string{"rr", "wrr"}[i%2]
						g.deliver(svc)
						g.after(100 * time.Millisecond)
					}
					broken.Store(false)
					if g.Status().Err == nil {
						t.Fatal("nothing has failed")
					}
					g.after(failed + firstRetry)
					if err := g.Status().Err; err != nil {
						t.Errorf("%s after the last fault: %v", failed+firstRetry, err)
					}
					if n := len(kernel.Table()); n != 2 {
						t.Errorf("%d of 2 are served", n)
					}
				})
			})
		}
	}
}

// Whoever makes the table first, be it a frontend's own try or that of the table alone: nobody waits for a try of his own.
func TestOnceTheTableIsMadeNobodyWaitsAnyMore(t *testing.T) {
	const services = 5
	for mended := time.Duration(0); mended < lastRetry; mended += 3 * time.Second {
		bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
			nft.SetFault(func(string) error { return errors.New("no nft here") })
			g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = time.Hour })
			g.serve()
			for i := range services {
				g.deliver(service(fmt.Sprintf("s%d", i), uint16(30100+i), stays))
				g.after(7 * time.Second)
			}
			g.after(mended)
			nft.SetFault(nil)
			for range lastRetry / (100 * time.Millisecond) {
				if g.after(100 * time.Millisecond); nft.Writes() > 0 {
					break
				}
			}
			if n := len(kernel.Table()); n != services {
				t.Errorf("mended after %s: %d of %d are served once the table is made", mended, n, services)
			}
		})
	}
}

// applyFilter counts the tries to change the table.
type applyFilter struct {
	Filter
	tries *atomic.Int32
}

func (f applyFilter) Apply(ctx context.Context, c filter.Change) error {
	f.tries.Add(1)
	return f.Filter.Apply(ctx, c)
}

// refusedWhileOneLeaves is a frontend with a real server that drains, whose new source ranges nft refuses.
func refusedWhileOneLeaves(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) (*rig, *atomic.Int32) {
	t.Helper()
	var tries atomic.Int32
	g := start(t, kernel, nft, func(c *Config) { c.Filter, c.SyncPeriod = applyFilter{c.Filter, &tries}, time.Hour })
	g.serve(web(stays, leaves))
	busy(kernel, 1)
	g.deliver(web(stays))
	nft.SetFault(func(string) error { return errors.New("nft refuses") })
	closed := web(stays)
	closed.Sources = filter.NewSources([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, nil)
	g.deliver(closed)
	return g, &tries
}

// Its real server could go, which each look finds anew.
func TestAFrontendThatNftRefusesIsTriedNoMoreOftenWhileARealServerLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, tries := refusedWhileOneLeaves(t, kernel, nft)
		before := tries.Load() - 1 // the one that was refused
		busy(kernel, 0)
		g.after(2 * time.Minute)
		if n := tries.Load() - before; n < 6 || n > 12 {
			t.Errorf("in two minutes it was tried %d times", n)
		}
		nft.SetFault(nil)
		g.after(lastRetry + pollPeriod)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// Nothing leaves it any more, and what made it due is told once.
func TestAFrontendThatNftRefusesIsTriedNoMoreOftenOnceAnotherHasDeletedIt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g, tries := refusedWhileOneLeaves(t, kernel, nft)
		before := tries.Load() - 1 // the one that was refused
		if errs := kernel.Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelVirtual, Key: tcp("10.1.0.10", 30080)}}); errs[0] != nil {
			t.Fatal(errs)
		}
		g.after(2 * time.Minute)
		if n := tries.Load() - before; n < 6 || n > 12 {
			t.Errorf("in two minutes it was tried %d times", n)
		}
		if drift := g.Counters().Drift; drift != 1 {
			t.Errorf("drift counted %d times, want once", drift)
		}
		nft.SetFault(nil)
		g.after(lastRetry + pollPeriod)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}
