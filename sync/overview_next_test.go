package sync

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// What the loop has on its way, or leaves alone on purpose, is nothing that a pass would write: diff and explain call what is
// pending a difference.
func TestNothingIsPendingWhereTheLoopDoesAsItShould(t *testing.T) {
	key, leaves := tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080")
	for _, c := range []struct {
		name string
		play func(g *rig)
	}{
		{"an endpoint rises", func(g *rig) {
			g.serve(slow("10.244.1.1:8080"))
			g.deliver(slow("10.244.1.1:8080", leaves.String()))
			g.after(25 * time.Second)
			g.expect("tcp://10.1.0.10:30080 wrr 10.244.1.1:8080*10 10.244.1.2:8080*3")
		}},
		{"a Service is gone, and drains", func(g *rig) {
			g.serve(web("10.244.1.1:8080", leaves.String()))
			g.kernel.SetConnections(key, leaves, ipvs.Connections{Active: 1})
			g.deliver(gone("web"))
			g.after(5 * time.Second)
			g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*0")
		}},
		{"an endpoint drains on an address that vanished", func(g *rig) {
			g.serve(web("10.244.1.1:8080", leaves.String()))
			g.kernel.SetConnections(key, leaves, ipvs.Connections{Active: 1})
			g.deliver(web("10.244.1.1:8080"))
			g.addresses.set()
			g.after(30 * time.Second)
			g.expect("tcp://10.1.0.10:30080 rr 10.244.1.1:8080*1 10.244.1.2:8080*0")
		}},
		{"nobody knows whose a virtual server is", func(g *rig) {
			g.addresses.set("10.1.0.10")
			g.source.deliver(func(u *Update) { u.Services, u.Incomplete = nil, true })
			g.after(time.Minute)
			g.expect("tcp://10.1.0.10:30080 rr 10.244.1.1:8080*1")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				if c.name == "nobody knows whose a virtual server is" {
					before := start(t, kernel, nft)
					before.serve(web("10.244.1.1:8080"))
					before.stop()
				}
				g := start(t, kernel, nft)
				c.play(g)
				if p := g.pending(); p != "" {
					t.Errorf("pending is\n%s", p)
				}
				o := g.overview()
				if !o.Ours(key) || len(o.OurKeys()) != 1 {
					t.Errorf("it is ours: %v, of %v", o.Ours(key), o.OurKeys())
				}
			})
		})
	}
}

func TestTheOverviewKnowsTheNodeAndHowTheLoopIs(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		spec, err := nodeaddr.ParseSpec([]string{"10.1.0.0/16"})
		if err != nil {
			t.Fatal(err)
		}
		g := start(t, kernel, nft, func(c *Config) { c.NodePortAddresses = spec })
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.1:8080"))
		o := g.overview()
		if len(o.All) != 2 || len(o.Rejected) != 1 || o.Rejected[0].Addr.String() != "10.2.0.10" || o.Rejected[0].Reason == "" {
			t.Errorf("of %v are rejected %+v", o.All, o.Rejected)
		}
		if !o.Health.Ready || !o.Health.Alive || o.Counters.Passes == 0 || o.Status.Frontends != 1 || !o.Rules.Owned.Has(tcp("10.1.0.10", 30080)) {
			t.Errorf("health %+v, counters %+v, status %+v, rules %+v", o.Health, o.Counters, o.Status, o.Rules)
		}
		if ids := o.ServicesOn(30080, frontend.Protocols()...); len(ids) != 1 || ids[0].Name != "web" {
			t.Errorf("on its node port are %v", ids)
		}
		if ids := o.ServicesOn(30080, frontend.UDP); len(ids) != 0 {
			t.Errorf("on its node port for UDP are %v", ids)
		}
		if ids := o.ServicesOn(80, frontend.Protocols()...); len(ids) != 0 {
			t.Errorf("on its port inside the cluster are %v", ids)
		}
		g.addresses.set("10.2.0.10")
		synctest.Wait()
		if until := g.overview().Grace[netip.MustParseAddr("10.1.0.10")]; !until.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("the address that vanished is served until %s", until)
		}
	})
}
