package main

import (
	"context"
	"net/netip"
	"os"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const picture = `
                          client
                         .2│  │.2
  network A  ──┬───────────┴──┼─────────────────┬─────  10.1.0.0/24  fd01::/64
  network B  ──┼──┬───────────┴─────────────────┼──┬──  10.2.0.0/24  fd02::/64
            .10│  │.10                       .11│  │.11
          ┌────┴──┴──────────┐             ┌────┴──┴──────────┐
          │ node1            │             │ node2            │
          │ kube-ipvs, IPVS  │             │                  │
          │ pods web-1 dns-1 │             │ pods web-2 dns-2 │
          └──────────────────┘             └──────────────────┘
            10.244.1.0/24                    10.244.2.0/24
            fd44:1::/64                      fd44:2::/64`

// showLab builds the lab and tells what is in it.
func (c *cast) showLab(ctx context.Context) error {
	if err := c.build(ctx); err != nil {
		return err
	}
	c.show(picture[1:])
	c.say("Pods are namespaces with real servers, which answer with their name over HTTP and UDP.")
	c.say("Services, EndpointSlices and the Node are YAML files, as kubectl would print them:\n")
	c.table([][]string{
		{"SERVICE", "NODE PORT", "SCHEDULER", "PODS"},
		{"web", "30080 TCP", "rr, round robin: each pod in turn", "web-1 on node1, web-2 on node2"},
		{"dns", "30053 UDP", "sh, source hash: a client keeps its pod", "dns-1 on node1, dns-2 on node2"},
	})
	c.say("Two things are there to be left alone: node1 has two more addresses on network A, %s and", c.admin4)
	c.say("%s, for administration only; and somebody else has put a virtual server of his own into", c.admin6)
	c.say("its IPVS table, %s: the foreign one.", c.foreign.Keys()[0])
	return nil
}

func (c *cast) build(ctx context.Context) (err error) {
	if c.dir, err = os.MkdirTemp("", "kube-ipvs-demo-"); err != nil {
		return err
	}
	c.written = agent.NewManifests(c.dir + "/manifests")
	if err := os.Mkdir(c.written.Dir, 0o755); err != nil {
		return err
	}
	if c.net, err = topo.New(ctx); err != nil {
		return err
	}
	if err := c.written.Node(c.net.Node1); err != nil {
		return err
	}
	if c.web, err = c.newService(ctx, "web", frontend.TCP, webPort, "rr"); err != nil {
		return err
	}
	if c.dns, err = c.newService(ctx, "dns", frontend.UDP, dnsPort, "sh"); err != nil {
		return err
	}
	if err := c.addAdminAddresses(); err != nil {
		return err
	}
	return c.addForeign(ctx)
}

func (c *cast) addAdminAddresses() error {
	c.admin4, c.admin6 = netip.MustParseAddr("10.1.0.200"), netip.MustParseAddr("fd01::1:200")
	for _, p := range []netip.Prefix{netip.PrefixFrom(c.admin4, 24), netip.PrefixFrom(c.admin6, 64)} {
		if err := c.net.Node1.AddAddress(topo.DevA, p); err != nil {
			return err
		}
	}
	return nil
}

// addForeign makes a virtual server as another program would: on an address of the node, in the range of node ports.
func (c *cast) addForeign(ctx context.Context) error {
	entry := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{
		netip.MustParseAddrPort("192.0.2.7:80"): {Forwarding: ipvs.Masquerade, Weight: 7},
	}}
	entry.Scheduler = "wlc"
	c.foreign = ipvs.Table{frontend.NewKey(c.net.Node1.A4, frontend.TCP, 31999): entry}
	return c.net.Node1.Do(func() error {
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		defer kernel.Close()
		for _, failed := range ipvs.Apply(ctx, kernel, ipvs.Diff(nil, c.foreign)).Failed {
			return failed
		}
		return nil
	})
}
