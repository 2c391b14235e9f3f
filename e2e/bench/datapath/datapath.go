package datapath

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Options of Run.
type Options struct {
	Subject  string         // whose rules serve node1 of Network
	Network  *topo.Topology // of the subject
	Pod      *topo.Pod      // on node1, the only endpoint, at topo.Port
	NodePort uint16
	Pairs    int           // how many pairs of subject and hand, of each kind and family
	Each     time.Duration // how long one side of a pair runs
	IPv4     bool          // alone
}

// Run measures throughput, latency and new connections, for IPv4 and IPv6, from the client of the network to node1's address on network A. The
// other side of each pair is a network of Run's own with ipvsadm's virtual server and one masquerade rule. It also counts the hooks and rules on a packet's way.
//
// The pod's own server is shut down: Run serves in its place. The subject has to serve both families already. It takes
// 12 × Pairs × Each, and some seconds. There must be no other measurement in the process.
func Run(ctx context.Context, o Options, emit func(result.Sample)) error {
	if err := measureAll(ctx, o, emit); err != nil {
		return fmt.Errorf("data path of %s: %w", o.Subject, err)
	}
	return nil
}

// RunControl is Run with a second virtual server made by hand in the subject's place, in a network of its own, by IPv4 alone: whatever the two
// sides of a pair differ by is the method's. Network and Pod are its own. It takes half of Run's time.
func RunControl(ctx context.Context, o Options, emit func(result.Sample)) (err error) {
	again, err := newHand(ctx, o.NodePort)
	if err != nil {
		return fmt.Errorf("data path of %s: %w", o.Subject, err)
	}
	defer func() { err = errors.Join(err, again.Close()) }()
	o.Network, o.Pod, o.IPv4 = again.Topology, again.pod, true
	return Run(ctx, o, emit)
}

func measureAll(ctx context.Context, o Options, emit func(result.Sample)) (err error) {
	if o.Pairs < 1 || o.Each <= 0 {
		return errors.New("no pairs, or no time for them")
	}
	if err := checkRoom(ctx); err != nil {
		return err
	}
	h, err := newHand(ctx, o.NodePort)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := prepare(o); err != nil {
		return err
	}
	for _, n := range []*topo.Topology{o.Network, h.Topology} {
		// Connections that were reset are remembered for 10 s: ports are not to be used again within that time.
		if err := n.Client.Sysctl("net.ipv4.ip_local_port_range", "1024 65535"); err != nil {
			return err
		}
	}
	for _, p := range []*topo.Pod{o.Pod, h.pod} {
		if err := p.Shutdown(ctx); err != nil {
			return err
		}
	}
	// What little is allocated while it is measured, for addresses of accepted connections, can wait.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, f := range families() {
		if o.IPv4 && !f.ipv4 {
			continue
		}
		if err := measure(ctx, o, h, f, emit); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// prepare lets the subject's client reach the pods, with addresses of its own: IPVS takes the answer to a client's port that came through
// a node port a moment ago for one of that connection, and sends it from the node port (Linux 6.1).
func prepare(o Options) error {
	n := o.Network
	for i, route := range []struct{ via, source netip.Addr }{
		{n.Node1.A4, netip.MustParseAddr("10.1.0.250")}, {n.Node1.A6, netip.MustParseAddr("fd01::fa")},
	} {
		source := netip.PrefixFrom(route.source, []int{24, 64}[i])
		// Both stay for a second Run.
		if err := addForRoutes(n.Client, source); err != nil {
			return fmt.Errorf("add %s to %s: %w", source, n.Client.Name, err)
		}
		to := n.Node1.PodCIDRs[i]
		err := n.Client.Do(func() error {
			return netlink.RouteAdd(&netlink.Route{
				Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
				Gw:  route.via.AsSlice(), Src: route.source.AsSlice(),
			})
		})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add route to %s from %s: %w", to, source, err)
		}
	}
	return nil
}

// addForRoutes adds an address that only routes use which name it: of two IPv6 addresses of one network Linux takes the one that came last, unless
// it is deprecated. Node ports would be asked from it too, and a port that both used within 10 s would never get an answer.
func addForRoutes(h *topo.Host, p netip.Prefix) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(topo.DevA)
		if err != nil {
			return err
		}
		return netlink.AddrReplace(link, &netlink.Addr{
			IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
			Flags: unix.IFA_F_NODAD, ValidLft: math.MaxUint32, PreferedLft: 0,
		})
	})
}

// measure emits all samples of one family.
func measure(ctx context.Context, o Options, h *hand, f family, emit func(result.Sample)) error {
	trio, err := newTrio(o, h, f)
	if err != nil {
		return err
	}
	defer trio.close()
	if err := hooks(ctx, o.Network.Node1, trio.subject, f.podAt(o.Pod), f.name, emit); err != nil {
		return err
	}
	if err := hooks(ctx, h.Node1, trio.hand, f.podAt(h.pod), f.name, emit); err != nil {
		return err
	}
	if err := trio.requests(ctx, o, emit); err != nil {
		return err
	}
	return trio.connects(ctx, o, emit)
}

// connectionsTracked is the room that conntrack needs: of 10 s of connections that were reset, and more on a fast machine.
const connectionsTracked = 65536

// checkRoom checks the kernel's tables of connections, which only the first network namespace can change: with less room than is
// used, connections would be refused, and those that are there would be looked for in long chains.
func checkRoom(ctx context.Context) error {
	if err := run(ctx, topo.Here("the machine"), "", "modprobe", "nf_conntrack"); err != nil {
		return err
	}
	const path = "/proc/sys/net/netfilter/nf_conntrack_max"
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("room for connections: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if n < connectionsTracked {
		return fmt.Errorf("%s is %d, want %d or more", path, n, connectionsTracked)
	}
	return nil
}
