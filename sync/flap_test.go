package sync

import (
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// The interface of an address that is away is not known to an agent that starts now, and the Service is served by interface.
func TestRestartInTheMiddleOfAFlapKeepsWhatIsServedByInterface(t *testing.T) {
	const both = "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1"
	const away = "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1"
	svc := narrowed(web("10.244.1.2:8080"), "iface:eth*")
	begin := func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) *rig {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(svc, service("old", 30081, "10.244.1.3:8080"))
		g.stop()
		g = start(t, kernel, nft)
		g.serve(svc) // 10.2.0.10 is away, and old is deleted
		g.after(50 * time.Second)
		g.expect(both, away, "tcp://10.2.0.10:30081 rr 10.244.1.3:8080*1")
		return g
	}
	for name, test := range map[string]func(*rig){
		"it is back": func(g *rig) {
			before := g.kernel.Writes()
			g.addresses.set("10.1.0.10", "10.2.0.10")
			g.after(5 * time.Minute)
			g.expect(both, away)
			if n := g.kernel.Writes() - before; n != 2 { // those of old
				t.Errorf("%d operations", n)
			}
		},
		"it is back, and elsewhere": func(g *rig) {
			g.addresses.set("10.1.0.10")
			g.addresses.add("wlan0", "10.2.0.10")
			g.addresses.changed <- struct{}{}
			g.after(time.Minute)
			g.expect(both)
		},
		"it is given up": func(g *rig) {
			g.after(2 * time.Minute)
			g.expect(both)
			if n := len(g.rules().Owned); n != 1 {
				t.Errorf("%d frontends are ours", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) { test(begin(t, kernel, nft)) })
		})
	}
}
