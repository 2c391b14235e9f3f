package sync

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

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
		asked := time.Now()
		ask, giveUp := context.WithTimeout(t.Context(), time.Minute)
		defer giveUp()
		if _, err := r.Overview(ask); err == nil || time.Since(asked) != 0 { // kube-ipvs status
			t.Errorf("asked for an overview: %v after %s, want an error at once", err, time.Since(asked))
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
