package sync

import (
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// What leaves or rises has an end, which a pass must not overlook because the kernel has what is wanted meanwhile.
func TestAFrontendIsNotAsWantedWhileSomethingIsOnTheWay(t *testing.T) {
	key, addr := tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080")
	entry := ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{addr: {Weight: 1}}}
	for name, test := range map[string]struct {
		change func(*Reconciler, *Frontend)
		want   bool
	}{
		"nothing":     {func(*Reconciler, *Frontend) {}, true},
		"a departure": {func(r *Reconciler, _ *Frontend) { r.leaving[key] = departures{addr: {}} }, false},
		"a rising weight": {func(r *Reconciler, _ *Frontend) {
			r.rising[key] = rising{since: map[netip.AddrPort]time.Time{addr: {}}}
		}, false},
		"weights that may rise":   {func(_ *Reconciler, f *Frontend) { f.SlowStart = time.Second }, false},
		"another scheduler":       {func(_ *Reconciler, f *Frontend) { f.Entry.Scheduler = "lc" }, false},
		"another set of reals":    {func(_ *Reconciler, f *Frontend) { f.Entry.Reals = nil }, false},
		"what the kernel has not": {func(r *Reconciler, _ *Frontend) { r.have.drop(key) }, false},
	} {
		r, f := New(logr.Discard(), Config{}), Frontend{Entry: entry.Clone()}
		r.have.put(key, entry.Clone())
		test.change(r, &f)
		if got := r.asWanted(key, r.have.table[key], &f); got != test.want {
			t.Errorf("%s: as wanted: %v, want %v", name, got, test.want)
		}
	}
}

// patienceOf asks the loop, which goes on writing.
func patienceOf(t *testing.T, g *rig) (remembered int) {
	t.Helper()
	if err := g.Ask(t.Context(), func(*State) { remembered = len(g.patience) }); err != nil {
		t.Fatal(err)
	}
	return remembered
}

func TestPatienceEndsWithTheEntryThatItIsFor(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(patient(time.Minute, leaves))
		busy(kernel, 1)
		g.deliver(gone("web"))
		g.after(50 * time.Second)
		if remembered := patienceOf(t, g); remembered != 1 {
			t.Errorf("while it drains %d timeouts are remembered", remembered)
		}
		g.after(15 * time.Second)
		g.expect()
		if remembered := patienceOf(t, g); remembered != 0 {
			t.Errorf("once it has gone %d timeouts are remembered", remembered)
		}
	})
	r, key := New(logr.Discard(), Config{}), tcp("10.1.0.10", 30080)
	r.patience[key] = time.Minute
	r.tables(time.Now(), []frontend.Key{key}) // somebody else deleted it
	if len(r.patience) != 0 {
		t.Errorf("once somebody deleted it %v is remembered", r.patience)
	}
}
