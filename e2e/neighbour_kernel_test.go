//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// A neighbour may route to any address of the node through any other, and say that it is anybody: what restricts clients looks at what the
// node sees. The threat model says so.
func TestANeighbourRoutesAroundNetworksAndForgesSources(t *testing.T) {
	r := newRig(t)
	const ranges = "10.2.0.0/24,10.1.0.77/32"
	r.serve(t, annotated("web", nodePort, "networks", "10.1.0.0/24", "source-ranges", ranges), agent.Ready(r.web1, r.Node1))
	r.start(t, "--nodeport-addresses=10.1.0.0/24,10.2.0.0/24", "--masquerade=remote") // the pod sees who asks
	t.Run("it reaches another network's address by routing through this one", func(t *testing.T) {
		r.refused(t, topo.TCP, at(r.Node1.B4)) // its own network does not serve
		must(t, r.Client.AddRoute(netip.PrefixFrom(r.Node1.A4, 32), r.Node1.B4))
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			if _, err := topo.AskAs(t.Context(), r.Client, netip.AddrPortFrom(r.Client.B4, 0), protocol, at(r.Node1.A4)); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a source that it forges is believed, and no connection comes of it", func(t *testing.T) {
		inside := visitor{name: "inside", v4: netip.MustParseAddr("10.1.0.77"), v6: netip.MustParseAddr("fd01::77")}
		outside := visitor{name: "outside", v4: netip.MustParseAddr("10.1.0.78"), v6: netip.MustParseAddr("fd01::78")}
		r.watch(t, inside, outside)
		for _, who := range []visitor{outside, inside} {
			c, err := r.forge(t.Context(), topo.UDP, who.v4, at(r.Node1.A4))
			must(t, err)
			_, err = c.Write([]byte("who\n"))
			must(t, errors.Join(err, c.Close()))
		}
		eventually(t, "the datagram of the forged source is with the pod", func() error {
			if r.seen(t, inside) == 0 {
				return errors.New("it is not")
			}
			return nil
		})
		// It was sent first.
		if n := r.seen(t, outside); n != 0 {
			t.Errorf("%d packets from outside of the source ranges", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), silence)
		defer cancel()
		before := r.seen(t, inside)
		if c, err := r.forge(ctx, topo.TCP, inside.v4, at(r.Node1.A4)); err == nil {
			t.Errorf("%s is connected to %s", c.LocalAddr(), c.RemoteAddr())
		} else if !silent(err) {
			t.Errorf("%v, want silence", err)
		}
		if r.seen(t, inside) == before {
			t.Error("the pod received nothing of the forged connection, so nothing is shown")
		}
	})
}

// forge connects from the client with an address that it does not have.
func (r *rig) forge(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	as := netip.AddrPortFrom(from, 0)
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(as), Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
		return errors.Join(err, set)
	}}
	if network == topo.UDP {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(as)
	}
	err = r.Client.Do(func() error {
		// For a single address the dialer makes its socket here, on this thread.
		if c, err = dialer.DialContext(ctx, network, to.String()); err != nil {
			return fmt.Errorf("forge %s: %w", from, err)
		}
		return nil
	})
	return c, err
}
