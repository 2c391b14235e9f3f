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

func TestAddressesAreFollowedLive(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks)
	fresh4, fresh6 := netip.MustParsePrefix("10.2.0.77/24"), netip.MustParsePrefix("fd01::77/64")

	for dev, p := range map[string]netip.Prefix{topo.DevB: fresh4, topo.DevA: fresh6} {
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

	c, pod := r.dial(t, at(fresh4.Addr()))
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4))
	holds(t, 2*time.Second, "an address that vanished keeps its virtual server", func() error {
		return r.isServed(t, fresh4.Addr(), true)
	})
	must(t, r.Node1.AddAddress(topo.DevB, fresh4))
	if got := askOn(t, c); got != pod {
		t.Errorf("the connection is answered by %s, not %s", got, pod)
	}
	must(t, c.Close())

	r.stop(t)
	const grace = 2 * time.Second
	r.start(t, bothNetworks, fmt.Sprintf("--address-grace=%s", grace))
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4))
	gone := time.Now()
	eventually(t, "the address is given up", func() error { return r.isServed(t, fresh4.Addr(), false) })
	if took := since(gone); took < grace {
		t.Errorf("the address was given up after %s, within the grace of %s", took, grace)
	} else {
		t.Logf("the address was given up after %s", took)
	}
	must(t, r.isServed(t, fresh6.Addr(), true))
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
