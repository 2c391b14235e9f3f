//go:build kernel

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// Somebody deletes our nftables table and no other, while requests come: it is back at once. What was sent meanwhile was not
// masqueraded and may fail; nothing that was sent before or after does, and connections live on.
func TestOurTableIsBackAtOnceAfterItWasDeleted(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, neverAudited)
	isBack := r.remember(t)
	open := held{}
	for _, addr := range r.all() {
		c, pod := r.dial(t, at(addr))
		open[c] = pod
	}
	load := r.load(t, at(r.Node1.B4))
	type gap struct{ gone, back time.Time }
	var gaps []gap
	for range 3 {
		awaitAnswers(t, load)
		g := gap{gone: time.Now()}
		r.run(t, "", "nft", "delete", "table", string(filter.Family), filter.Name)
		eventually(t, "our table is back", func() error {
			_, err := r.Node1.Command(t.Context(), "nft", "list", "table", string(filter.Family), filter.Name).Output()
			return err
		})
		g.back = time.Now()
		gaps = append(gaps, g)
		took := since(g.gone)
		t.Logf("it was back after %s", took)
		if took > soon {
			t.Errorf("it was back after %s", took)
		}
		eventually(t, "all is as it was", isBack)
		awaitAnswers(t, load)
		open.live(t)
		r.served(t)
	}
	tally := load.Stop()
	t.Log(tally)
	for _, f := range tally.Failures {
		// One that was under way may have begun a moment before.
		if !slices.ContainsFunc(gaps, func(g gap) bool { return f.At.After(g.gone.Add(-time.Second)) && f.At.Before(g.back) }) {
			t.Errorf("a request that our table was there for failed: %v", f.Err)
		}
	}
	r.stop(t)
	r.run(t, "", "nft", "delete", "table", string(filter.Family), filter.Name)
	r.start(t, bothNetworks, neverAudited)
	r.wroteNoServer(t)
	must(t, isBack())
	open.live(t)
	r.served(t)
}
