package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// soon is when a new address must be served: tenths of a second in a guest, more where its machine is busy.
const soon = 5 * time.Second

// showNewAddress adds addresses to node1 and asks until they answer.
func (c *cast) showNewAddress(ctx context.Context) error {
	for _, p := range []netip.Prefix{netip.MustParsePrefix("10.2.0.20/24"), netip.MustParsePrefix("fd02::20/64")} {
		took, pod, err := c.timeToServe(ctx, p)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%s was added to node1 on network B and answered after %s", p.Addr(), rounded(took))
		c.promise(took <= soon, what, "more than "+rounded(soon)+", by "+pod)
	}
	return nil
}

// timeToServe is the time from the moment at which an address is added until the first answer on it.
func (c *cast) timeToServe(ctx context.Context, p netip.Prefix) (time.Duration, string, error) {
	to := netip.AddrPortFrom(p.Addr(), webPort)
	start := time.Now()
	if err := c.net.Node1.AddAddress(topo.DevB, p); err != nil {
		return 0, "", err
	}
	for {
		answer, err := topo.Ask(ctx, c.net.Client, topo.HTTP, to)
		took := time.Since(start)
		if err == nil {
			return took, answer.Pod, nil
		}
		if took > 2*soon || ctx.Err() != nil {
			return took, "", fmt.Errorf("%s was added and does not answer: %w", p.Addr(), err)
		}
		time.Sleep(time.Millisecond)
	}
}
