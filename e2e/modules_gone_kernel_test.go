//go:build kernel

package e2e

import (
	"context"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// A network lives on for minutes after its test where a connection in it was closed whose other end is not heard any more. What the
// agent left there must not hold the modules that a later test takes away.
func TestANetworkThatLivesOnHoldsNoModule(t *testing.T) {
	t.Run("a network is given up", func(t *testing.T) {
		r := newRig(t)
		r.serve(t, web(), r.both()...)
		r.start(t, bothNetworks)
		r.served(t)
		other := netip.AddrPortFrom(r.Client.A4, 8080)
		l, err := r.Client.Listen(context.WithoutCancel(t.Context()), other)
		must(t, err)
		defer l.Close()
		c, err := r.Node1.Dial(t.Context(), topo.TCP, other)
		must(t, err)
		must(t, r.Client.RemoveAddress(topo.DevA, netip.PrefixFrom(r.Client.A4, 24)))
		_, err = c.Write([]byte("who\n"))
		must(t, err)
		must(t, c.Close())
	})
	withoutModules(t, "ip_vs", "nf_tables")
}
