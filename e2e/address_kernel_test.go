//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// fresh4 and fresh6 are addresses that node 1 gets while the agent runs.
func fresh4() netip.Prefix { return netip.MustParsePrefix("10.2.0.77/24") }
func fresh6() netip.Prefix { return netip.MustParsePrefix("fd01::77/64") }

func (r *rig) testAddresses(t *testing.T, _ agent.Service) {
	for dev, p := range map[string]netip.Prefix{topo.DevB: fresh4(), topo.DevA: fresh6()} {
		must(t, r.Node1.AddAddress(dev, p))
		added := time.Now()
		eventually(t, "the address is served", func() error {
			_, err := topo.Ask(t.Context(), r.Client, topo.TCP, at(p.Addr()))
			return err
		})
		took := since(added)
		t.Logf("%s was served %s after it appeared", p.Addr(), took)
		if took > soon {
			t.Errorf("%s was served only after %s", p.Addr(), took)
		}
	}

	c, pod := r.dial(t, at(fresh4().Addr()))
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4()))
	holds(t, 2*time.Second, "an address that vanished keeps its virtual server", func() error {
		return r.isServed(t, fresh4().Addr(), true)
	})
	must(t, r.Node1.AddAddress(topo.DevB, fresh4()))
	if got := askOn(t, c); got != pod {
		t.Errorf("the connection is answered by %s, not %s", got, pod)
	}
	must(t, c.Close())
}

func (r *rig) testGrace(t *testing.T, _ agent.Service) {
	must(t, r.isServed(t, fresh4().Addr(), true))
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4()))
	gone := time.Now()
	eventually(t, "the address is given up", func() error { return r.isServed(t, fresh4().Addr(), false) })
	if took := since(gone); took < shortGrace {
		t.Errorf("the address was given up after %s, within the grace of %s", took, shortGrace)
	} else {
		t.Logf("the address was given up after %s", took)
	}
	must(t, r.isServed(t, fresh6().Addr(), true))
}

// isServed is nil if the node port is in the kernel for an address, or is not.
func (r *rig) isServed(t *testing.T, addr netip.Addr, want bool) error {
	t.Helper()
	table, err := agent.Table(t.Context(), r.Node1)
	if _, served := table[key(addr, frontend.TCP)]; err == nil && served != want {
		err = fmt.Errorf("%s is served: %v", addr, served)
	}
	return err
}
