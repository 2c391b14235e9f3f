package sync

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func (g *rig) overview() *Overview {
	g.t.Helper()
	o, err := g.Overview(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return o
}

// pending is what a pass would write now, by the overview.
func (g *rig) pending() string {
	o := g.overview()
	return ipvs.Diff(o.Next(g.kernel.Table(), o.OurKeys())).String()
}

func TestTheOverviewSaysWhatAPassWouldWrite(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.1:8080", "10.244.1.2:8080"))
		if p := g.pending(); p != "" {
			t.Errorf("after a pass there is left to do:\n%s", p)
		}
		key, gone := tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080")
		kernel.Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelReal, Key: key, RealKey: gone}})
		want := "add-real tcp://10.1.0.10:30080 10.244.1.2:8080 masq weight 1\n"
		if p := g.pending(); p != want {
			t.Errorf("somebody took a real server away, and pending is %q, want %q", p, want)
		}
		g.after(30 * time.Second)
		if p := g.pending(); p != "" {
			t.Errorf("after the audit there is left to do:\n%s", p)
		}
	})
}

func TestWhatDrainsIsNoDifference(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.1:8080", "10.244.1.2:8080"))
		key, leaves := tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080")
		kernel.SetConnections(key, leaves, ipvs.Connections{Active: 1})
		began := time.Now()
		g.deliver(web("10.244.1.1:8080"))
		if p := g.pending(); p != "" {
			t.Errorf("while a real server drains there is left to do:\n%s", p)
		}
		want := map[netip.AddrPort]time.Time{leaves: began}
		if diff := cmp.Diff(want, g.overview().Departing(key), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("departing (-want +got):\n%s", diff)
		}
		if s := g.Serving()[key]; len(s.Draining) != 1 || s.Service.Name != "web" || s.Name != "http" {
			t.Errorf("served is %+v", s)
		}
		kernel.SetConnections(key, leaves, ipvs.Connections{})
		g.after(10 * time.Second)
		if s := g.Serving()[key]; len(s.Draining) != 0 {
			t.Errorf("it is gone, and %+v", s)
		}
	})
}

func TestTheOverviewIsACopy(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.1:8080"))
		o := g.overview()
		before := o.View()
		g.deliver(web("10.244.1.1:8080", "10.244.1.2:8080"), service("api", 30081, "10.244.1.3:80"))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.after(time.Second)
		if diff := cmp.Diff(before, o.View(), comparers()); diff != "" {
			t.Errorf("it changed (-before +after):\n%s", diff)
		}
		if n := len(o.OurKeys()); n != 1 {
			t.Errorf("it has %d frontends, of which it had 1", n)
		}
		if n := len(g.overview().OurKeys()); n != 4 {
			t.Errorf("a new one has %d frontends, want 4", n)
		}
	})
}

func comparers() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b frontend.Key) bool { return a == b }),
	}
}

func TestWhatIsServedIsForgottenWithItsVirtualServer(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.1:8080"), service("api", 30081, "10.244.1.3:80"))
		key := tcp("10.1.0.10", 30081)
		kernel.SetConnections(key, netip.MustParseAddrPort("10.244.1.3:80"), ipvs.Connections{Active: 1})
		g.deliver(gone("api"))
		if s, served := g.Serving()[key]; !served || s.Service.Name != "api" || len(s.Draining) != 1 {
			t.Errorf("while it drains it is %+v", s)
		}
		kernel.SetConnections(key, netip.MustParseAddrPort("10.244.1.3:80"), ipvs.Connections{})
		g.after(10 * time.Second)
		if got := g.Serving(); len(got) != 1 || got[tcp("10.1.0.10", 30080)].Service.Name != "web" {
			t.Errorf("served is %+v", got)
		}
	})
}

func TestTheOverviewSaysWhatTheKernelRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		once := ipvsfake.Fault{Verb: ipvs.AddReal, Real: netip.MustParseAddrPort("10.244.1.2:8080"), Err: syscall.ENOMEM}
		g := start(t, kernel, nft, func(c *Config) {
			c.Kernel = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Once: []ipvsfake.Fault{once}})
		})
		g.serve(web("10.244.1.1:8080"))
		g.deliver(web("10.244.1.1:8080", "10.244.1.2:8080"))
		again, err := g.overview().Stuck(tcp("10.1.0.10", 30080))
		if err == nil || !again.After(time.Now()) {
			t.Errorf("it is stuck with %v until %s", err, again)
		}
		o := g.overview()
		for which, problems := range map[string][]Problem{"all": o.Problems(), "those of the Service": o.ProblemsOf(ServiceID{Namespace: "default", Name: "web"}), "those of the status": o.Status.Problems} {
			if len(problems) != 1 || problems[0].Object != "Service default/web" || problems[0].Reason != KernelRefused {
				t.Errorf("%s are %v", which, problems)
			}
		}
	})
}

func TestNobodyIsAnsweredWhoDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft) // it has not read anything yet
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Overview(ctx); err == nil {
			t.Error("before there is anything to tell, something is told")
		}
	})
}
