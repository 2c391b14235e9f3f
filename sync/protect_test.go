package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestServiceThatCannotBeProtectedIsNotServed(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Minute)
		g.expect()
		if g.Status().Err == nil {
			t.Error("the failure is not reported")
		}
	})
}

func TestWhatDrainsStaysProtectedUntilItIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		key := tcp("10.1.0.10", 30080)
		g := start(t, kernel, nft)
		g.serve(web(leaves))
		busy(kernel, 1)
		g.deliver(gone("web"))
		g.after(time.Minute)
		if rules := g.rules(); !rules.Owned.Has(key) || rules.Masquerade[key] != filter.MasqueradeAll {
			t.Errorf("while it drains the table has %v", rules)
		}
		busy(kernel, 0)
		g.after(6 * time.Second)
		g.expect()
		if rules := g.rules(); rules.Owned.Has(key) || rules.Masquerade[key] != filter.MasqueradeNone {
			t.Errorf("after it has gone the table has %v", rules)
		}
	})
}

func TestWhatCannotBeReleasedIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g.deliver(gone("web"))
		g.after(10 * time.Second)
		g.expect()
		if g.Status().Err == nil {
			t.Error("the failure is not reported")
		}
		nft.SetFault(nil)
		g.after(time.Minute)
		if rules := g.rules(); len(rules.Owned) != 0 || len(rules.Masquerade) != 0 {
			t.Errorf("the table still has %v", rules)
		}
		if err := g.Status().Err; err != nil {
			t.Errorf("still failing: %v", err)
		}
	})
}

func TestMasqueradeIsForPodsOnlyWhenThePolicyBecomesLocal(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		svc := web("10.244.1.2:8080 local")
		g.serve(svc)
		local := web("10.244.1.2:8080 local")
		local.Ports[0].Policy = Local
		g.deliver(local)
		g.masquerades(map[frontend.Key]filter.Masquerade{tcp("10.1.0.10", 30080): filter.MasqueradePods})
	})
}

// Nobody tells of the flush, and no audit is near.
func TestTableThatIsMissingIsMadeAnewWithAllThatItHad(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = time.Hour })
		g.serve(web("10.244.1.2:8080"))
		if err := nft.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.deliver(service("dns", 30053, "10.244.1.3:53"))
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.3:53*1", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		both := []frontend.Key{tcp("10.1.0.10", 30053), tcp("10.1.0.10", 30080)}
		if rules := g.rules(); !rules.Equal(filter.Rules{Owned: filter.NewSet(both...), Masquerade: all(both...)}) {
			t.Errorf("the table has %v", rules)
		}
		if n := g.Counters().Drift; n != 1 || g.Status().Err != nil {
			t.Errorf("drift counted %d times, error %v, want once and none", n, g.Status().Err)
		}
	})
}

// What it has for a frontend is in force, whatever the layout.
func TestAnAgentThatCannotMakeTheTableOfAnotherAnewFollowsWhatIsProtected(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		former := start(t, kernel, nft)
		former.serve(web("10.244.1.2:8080"))
		former.stop()
		nft.SetFault(func(string) error { return errors.New("nft does not work") })
		g := start(t, kernel, nft, func(c *Config) { c.Filter = filter.New(nft, filter.Options{PodInterface: "cali*"}) })
		g.serve(web("10.244.1.3:8080"), service("dns", 30053, "10.244.1.3:53"))
		g.after(10 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.3:8080*1")
		g.after(2 * g.SyncPeriod)
		if h := g.Health(time.Now()); h.Ready {
			t.Error("the table is not as it should be, and nobody is told")
		}
		nft.SetFault(nil)
		g.after(2 * lastRetry)
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.3:53*1", "tcp://10.1.0.10:30080 rr 10.244.1.3:8080*1")
		if found, err := g.Filter.Read(t.Context()); err != nil || !found.Intact || g.Status().Err != nil || g.Counters().Drift > 0 {
			t.Errorf("the table is %+v, %v; the agent says %v, and that others changed %d times what is ours", found, err, g.Status().Err, g.Counters().Drift)
		}
	})
}

func TestNothingNewIsServedWhileTheTableCannotBeMadeAnew(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = time.Hour })
		g.serve(web("10.244.1.2:8080"))
		if err := nft.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		nft.SetFault(func(transaction string) error {
			if strings.Contains(transaction, "delete table") {
				return errors.New("busy")
			}
			return nil
		})
		g.deliver(service("dns", 30053, "10.244.1.3:53"))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		nft.SetFault(nil)
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30053 rr 10.244.1.3:53*1", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// To look for the Services at fault is no reason to keep the others waiting when all of nft fails.
func TestNftThatFailsSlowlyDoesNotHoldUpWhatIsProtected(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = time.Hour })
		g.serve(web("10.244.1.2:8080"))
		nft.SetFault(func(string) error {
			time.Sleep(time.Second)
			return errors.New("broken")
		})
		var others []Service
		for i := range uint16(64) {
			others = append(others, service(fmt.Sprintf("other-%d", i), 31000+i, "10.244.1.3:80"))
		}
		g.deliver(others...)
		g.deliver(web("10.244.1.2:8080", "10.244.1.4:8080"))
		g.after(30 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.1.4:8080*1")
	})
}

var errUnreadable = errors.New("cannot be read")

// unreadableKernel and unreadableFilter can be written and not read, n times.
type unreadableKernel struct {
	ipvs.Handle
	n *atomic.Int32
}

type unreadableFilter struct {
	Filter
	n *atomic.Int32
}

func (k unreadableKernel) List(ctx context.Context) (ipvs.Table, error) {
	if k.n.Add(-1) >= 0 {
		return nil, errUnreadable
	}
	return k.Handle.List(ctx)
}

func (k unreadableKernel) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.VirtualServer, error) {
	if k.n.Add(-1) >= 0 {
		return nil, errUnreadable
	}
	return k.Handle.Virtuals(ctx)
}

func (f unreadableFilter) Read(ctx context.Context) (filter.State, error) {
	if f.n.Add(-1) >= 0 {
		return filter.State{}, errUnreadable
	}
	return f.Filter.Read(ctx)
}

// Each try is an error in the log, and it may be days until somebody loads the module again.
func TestAKernelThatCannotBeReadIsAskedLessAndLessOften(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var n atomic.Int32
		g := start(t, kernel, nft, func(c *Config) { c.Kernel = unreadableKernel{c.Kernel, &n} })
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Minute)
		for range 2 {
			n.Store(1 << 20)
			g.after(g.SyncPeriod + 2*lastAuditRetry)
			before := n.Load()
			g.after(10 * time.Minute)
			tries, want := int(before-n.Load()), int(10*time.Minute/lastAuditRetry)
			if tries < want-1 || tries > want+1 {
				t.Errorf("%d tries in ten minutes, want %d", tries, want)
			}
			n.Store(0)
			g.after(lastAuditRetry)
			if err := g.Status().Err; err != nil {
				t.Errorf("still failing: %v", err)
			}
		}
	})
}

func TestNothingIsTouchedBeforeTheKernelWasRead(t *testing.T) {
	for name, configure := range map[string]func(*Config, *atomic.Int32){
		"IPVS":     func(c *Config, n *atomic.Int32) { c.Kernel = unreadableKernel{c.Kernel, n} },
		"nftables": func(c *Config, n *atomic.Int32) { c.Filter = unreadableFilter{c.Filter, n} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				var n atomic.Int32
				n.Store(3) // at once, after one second, and after two more
				g := start(t, kernel, nft, func(c *Config) { configure(c, &n) })
				g.serve(web("10.244.1.2:8080"))
				g.after(3*auditRetry + 4*auditRetry - auditRetry/2)
				if n := kernel.Writes(); n != 0 {
					t.Errorf("%d operations on a kernel of which nothing is known", n)
				}
				if err := g.Status().Err; !errors.Is(err, errUnreadable) {
					t.Errorf("error %v, want %v", err, errUnreadable)
				}
				g.after(auditRetry) // the next try comes soon
				g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
			})
		})
	}
}
