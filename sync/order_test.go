package sync

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/healthcheck"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// setter is a HealthChecks that is a function.
type setter func(want map[netip.AddrPort]healthcheck.Check)

func (f setter) Set(want map[netip.AddrPort]healthcheck.Check) map[netip.AddrPort]error {
	f(want)
	return nil
}

func TestLoadBalancersAreToldOfAnEndpointOnceItIsServed(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		told := false
		look := setter(func(want map[netip.AddrPort]healthcheck.Check) {
			told = told || len(want) > 0
			if len(want) > 0 && len(kernel.Table()) == 0 {
				t.Error("told before there is a virtual server")
			}
		})
		g := start(t, kernel, nft, func(c *Config) { c.HealthChecks = look })
		g.serve(balanced("web", 30080, 32000, "10.244.1.2"))
		if !told {
			t.Error("nobody is told")
		}
	})
}

// Otherwise they would be dropped like everybody else for a moment.
func TestPodsAreKnownBeforeAFrontendIsForThemAlone(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var order []string
		nft.SetFault(func(transaction string) error {
			for _, set := range []string{"pods-ipv4", "internal-ipv4"} {
				if strings.Contains(transaction, "add element inet kube-ipvs "+set+" {") {
					order = append(order, set)
				}
			}
			return nil
		})
		g := start(t, kernel, nft, fromNode)
		g.addresses.set("10.1.0.10")
		node := Node{Name: "node1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
		g.source.deliver(func(u *Update) { u.Node, u.Services = &node, []Service{local("10.244.2.2:8080")} })
		g.after(0)
		if got := strings.Join(order, ", "); got != "pods-ipv4, internal-ipv4" {
			t.Errorf("written: %s", got)
		}
	})
}
