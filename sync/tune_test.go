package sync

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// tuned lets an agent keep the timeout of TCP at an hour, as it keeps sysctls, unless readOnly.
func tuned(kernel *ipvsfake.Kernel, readOnly *atomic.Bool, tables *[]int) func(*Config) {
	return func(c *Config) {
		c.Tune = func(ctx context.Context) error {
			now, err := kernel.Timeouts(ctx)
			if err != nil || now.TCP == time.Hour {
				return err
			}
			if readOnly.Load() {
				return errors.New("sysctl net.ipv4.vs.conntrack=1: read-only file system")
			}
			*tables = append(*tables, len(kernel.Table()))
			return kernel.SetTimeouts(ctx, ipvs.Timeouts{TCP: time.Hour})
		}
	}
}

func TestAModuleThatWasLoadedAnewIsTunedBeforeItServes(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var tables []int // how many virtual servers there were whenever the settings were written
		g := start(t, kernel, nft, tuned(kernel, &atomic.Bool{}, &tables))
		g.serve(web("10.244.1.2:8080"))
		g.after(31 * time.Second)
		before := slices.Clone(tables)
		kernel.Unload()
		g.after(31 * time.Second)
		if h := g.Health(time.Now()); !h.Alive || !strings.Contains(g.Status().Err.Error(), "no IPVS") {
			t.Errorf("%+v, %v", h, g.Status().Err)
		}
		kernel.Load()
		g.after(2 * time.Second)
		if now, err := kernel.Timeouts(t.Context()); err != nil || now.TCP != time.Hour || !slices.Equal(tables, append(before, 0)) {
			t.Errorf("timeouts %v, %v; written with tables of %v, want once more, and before anything was served", now, err, tables)
		}
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		writes := g.writes()
		g.after(10 * time.Minute)
		if n := g.writes() - writes; n != 0 || !g.Health(time.Now()).Ready {
			t.Errorf("%d writes after that, %+v", n, g.Health(time.Now()))
		}
	})
}

func TestAModuleThatWasLoadedAnewIsAuditedAsSoonAsAnybodyMeetsIt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var tables []int
		renewed := make(chan struct{}, 1)
		g := start(t, kernel, nft, tuned(kernel, &atomic.Bool{}, &tables), func(c *Config) { c.Renewed = renewed })
		g.serve(web("10.244.1.2:8080"))
		kernel.Unload()
		kernel.Load()
		renewed <- struct{}{}
		g.after(0)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		if now, err := kernel.Timeouts(t.Context()); err != nil || now.TCP != time.Hour {
			t.Errorf("timeouts %v, %v", now, err)
		}
	})
}

// Without connection tracking nothing is masqueraded, however much is served.
func TestAnAgentThatCannotTuneIsNotReadyUntilSomebodyDoes(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var readOnly atomic.Bool
		var tables []int
		g := start(t, kernel, nft, tuned(kernel, &readOnly, &tables))
		g.serve(web("10.244.1.2:8080"))
		g.after(31 * time.Second)
		readOnly.Store(true)
		kernel.Unload()
		kernel.Load()
		g.after(31 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		wellUntil := time.Now()
		for range 10 { // passes between audits, which go well by themselves, change nothing about it
			g.deliver(web("10.244.1.2:8080", "10.244.1.3:8080"))
			g.deliver(web("10.244.1.2:8080"))
			g.after(20 * time.Second)
		}
		const want = "settings of IPVS: sysctl net.ipv4.vs.conntrack=1: read-only file system"
		s, h := g.Status(), g.Health(time.Now())
		if h.Ready || !h.Alive || !strings.Contains(h.Reason, want) || s.Synced.After(wellUntil) {
			t.Errorf("after %s: %+v", time.Since(wellUntil), h)
		}
		problem := Problem{Object: "IPVS", Reason: KernelRefused, Message: want}
		overview, err := g.Overview(t.Context())
		if err != nil || !slices.Contains(s.Problems, problem) || !slices.Contains(overview.Problems(), problem) {
			t.Errorf("problems %v, %v", s.Problems, err)
		}
		if err := kernel.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: time.Hour}); err != nil { // somebody else sets it
			t.Fatal(err)
		}
		g.after(31 * time.Second)
		if h := g.Health(time.Now()); !h.Ready || len(g.Status().Problems) != 0 {
			t.Errorf("%+v, problems %v, want none", h, g.Status().Problems)
		}
	})
}
