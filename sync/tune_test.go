package sync

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
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

func TestWhatANodeLacksIsTheReasonUntilTheLoopIsEquipped(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		const lacks = "this kernel has no IPVS: modprobe ip_vs on the node"
		spec, err := nodeaddr.ParseSpec([]string{"all"})
		if err != nil {
			t.Fatal(err)
		}
		g := &rig{t: t, source: newSource(), addresses: &addresses{changed: make(chan struct{}, 1)}, kernel: kernel.Open(), nft: nft}
		r := New(logr.Discard(), Config{
			Source: g.source, Addresses: g.addresses, PodsByInterface: true, NodePortAddresses: spec,
			Defaults: Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: nodePorts}, SyncPeriod: 30 * time.Second,
		})
		g.Reconciler = r
		r.Await(lacks)
		g.serve(web("10.244.1.2:8080")) // which comes meanwhile, and is not lost
		if h := r.Health(time.Now()); h.Ready || !h.Alive || h.Reason != lacks || r.Glance().Health.Reason != lacks {
			t.Errorf("%+v, %+v", h, r.Glance().Health)
		}
		r.Equip(Equipment{Kernel: g.kernel, Filter: filter.New(nft, filter.Options{})})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		if h := r.Health(time.Now()); !h.Ready {
			t.Errorf("%+v", h)
		}
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
