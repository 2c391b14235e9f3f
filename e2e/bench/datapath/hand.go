package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// hand is a network whose node port an administrator has made with ipvsadm, and one masquerade rule for each family.
type hand struct {
	*topo.Topology
	pod *topo.Pod
}

// masqueradeByHand is in a table of its own for each family, so that no packet passes the rule of the other one.
const masqueradeByHand = `
table ip by-hand {
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip daddr 10.244.0.0/16 masquerade
	}
}
table ip6 by-hand {
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip6 daddr fd44::/16 masquerade
	}
}
`

// newHand builds the network, with a pod on node1 that is the only real server of node1's addresses on network A.
func newHand(ctx context.Context, port uint16) (*hand, error) {
	network, err := topo.New(ctx)
	if err != nil {
		return nil, err
	}
	h := &hand{Topology: network}
	if err := h.serve(ctx, port); err != nil {
		return nil, fmt.Errorf("virtual server by hand: %w", errors.Join(err, h.Close()))
	}
	return h, nil
}

func (h *hand) serve(ctx context.Context, port uint16) (err error) {
	if h.pod, err = h.AddPod(ctx, h.Node1, "by-hand"); err != nil {
		return err
	}
	for _, f := range families() {
		vip, pod := netip.AddrPortFrom(f.node(h.Topology), port).String(), f.podAt(h.pod).String()
		if err := run(ctx, h.Node1, "", "ipvsadm", "-A", "-t", vip, "-s", "rr"); err != nil {
			return err
		}
		if err := run(ctx, h.Node1, "", "ipvsadm", "-a", "-t", vip, "-r", pod, "-m"); err != nil {
			return err
		}
	}
	// Without it conntrack does not know what IPVS did, and there is nothing to masquerade.
	if err := h.Node1.Sysctl("net.ipv4.vs.conntrack", "1"); err != nil {
		return err
	}
	return run(ctx, h.Node1, masqueradeByHand, "nft", "-f", "-")
}

// run runs a command on a host.
func run(ctx context.Context, host *topo.Host, stdin, name string, args ...string) error {
	cmd := host.Command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s on %s: %w: %s", name, strings.Join(args, " "), host.Name, err, out)
	}
	return nil
}
