package labcluster

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// chosen are both networks, but for the addresses at their ends.
const chosen = "10.1.0.0/25,10.2.0.0/25,fd01::/112,fd02::/112"

// Nodes implements suite.Provider.
func (c *Cluster) Nodes() []suite.Node {
	return []suite.Node{
		{Name: nodes.Node1, Chosen: addresses("10"), Others: others("10")},
		{Name: nodes.Node2, Chosen: addresses("11"), Others: others("11")},
	}
}

// Clients implements suite.Provider.
func (c *Cluster) Clients() []netip.Addr { return addresses("2") }

// addresses of both networks and families that end in these digits.
func addresses(last string) []netip.Addr {
	var all []netip.Addr
	for _, network := range []string{"10.1.0.", "10.2.0.", "fd01::", "fd02::"} {
		all = append(all, netip.MustParseAddr(network+last))
	}
	return all
}

// others are addresses on network A that --nodeport-addresses does not choose.
func others(last string) []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.1.0.2" + last), netip.MustParseAddr("fd01::1:" + last)}
}

func (c *Cluster) addOthers(ctx context.Context) error {
	for _, n := range c.Nodes() {
		for _, a := range n.Others {
			if err := c.AddAddress(ctx, n.Name, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// FreeAddresses implements suite.Addresses.
func (c *Cluster) FreeAddresses(node string) []netip.Addr {
	if node == nodes.Node1 {
		return addresses("50")
	}
	return addresses("51")
}

// AddAddress implements suite.Addresses.
func (c *Cluster) AddAddress(ctx context.Context, node string, a netip.Addr) error {
	return c.Remote.AddAddress(ctx, addressOf(node, a))
}

// RemoveAddress implements suite.Addresses.
func (c *Cluster) RemoveAddress(ctx context.Context, node string, a netip.Addr) error {
	return c.Remote.RemoveAddress(ctx, addressOf(node, a))
}

// addressOf finds the device that an address belongs to.
func addressOf(node string, a netip.Addr) nodes.Address {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	device := topo.DevA
	for _, b := range []string{"10.2.0.0/24", "fd02::/64"} {
		if netip.MustParsePrefix(b).Contains(a) {
			device = topo.DevB
		}
	}
	return nodes.Address{Node: node, Device: device, Prefix: netip.PrefixFrom(a, bits)}
}

// StartAgent implements suite.Agents.
func (c *Cluster) StartAgent(ctx context.Context, node string, next bool) error {
	o := nodes.AgentOptions{Node: node, Flags: []string{"--nodeport-addresses", chosen, "-v=2"}}
	if next {
		o.Program = nextProgram
	}
	return c.Remote.StartAgent(ctx, o)
}

// RollAgents implements suite.Provider.
func (c *Cluster) RollAgents(ctx context.Context) error {
	for _, n := range c.Nodes() {
		if err := c.StopAgent(ctx, n.Name); err != nil {
			return err
		}
		if err := c.StartAgent(ctx, n.Name, false); err != nil {
			return err
		}
	}
	return nil
}

// Run implements suite.Shell.
func (c *Cluster) Run(ctx context.Context, node, stdin string, args ...string) (string, error) {
	result, err := c.Remote.Run(ctx, nodes.Command{Place: node, Args: args, Stdin: stdin})
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("%v on %s: exit code %d: %s", args, node, result.Code, result.Output)
	}
	return result.Output, err
}

// proxyFlags are those that docs/operations.md asks for: node ports are ours.
var proxyFlags = []string{"--proxy-mode=nftables", "--nodeport-addresses=127.0.0.0/8,::1/128", "--detect-local-mode=NodeCIDR"}

// StartProxies implements suite.Proxies.
func (c *Cluster) StartProxies(ctx context.Context) error {
	for _, n := range c.Nodes() {
		if err := c.StartProxy(ctx, nodes.AgentOptions{Node: n.Name, Flags: proxyFlags}); err != nil {
			return err
		}
	}
	return nil
}

// StopProxies implements suite.Proxies. What kube-proxy has written goes, too.
func (c *Cluster) StopProxies(ctx context.Context) error {
	for _, n := range c.Nodes() {
		if err := c.StopProxy(ctx, n.Name); err != nil {
			return err
		}
		for _, family := range []string{"ip", "ip6"} {
			if _, err := c.Run(ctx, n.Name, "", "nft", "delete", "table", family, "kube-proxy"); err != nil {
				return err
			}
		}
	}
	return nil
}

// KillAPIServer implements suite.APIServer.
func (c *Cluster) KillAPIServer() { c.plane.KillAPIServer() }

// StartAPIServer implements suite.APIServer.
func (c *Cluster) StartAPIServer(ctx context.Context) error { return c.plane.StartAPIServer(ctx) }

// PauseAPIServer implements suite.APIServer.
func (c *Cluster) PauseAPIServer() error { return c.plane.PauseAPIServer() }

// ResumeAPIServer implements suite.APIServer.
func (c *Cluster) ResumeAPIServer() error { return c.plane.ResumeAPIServer() }

// Backup implements suite.Backups.
func (c *Cluster) Backup(ctx context.Context) error { return c.plane.Backup(ctx) }

// Restore implements suite.Backups.
func (c *Cluster) Restore(ctx context.Context) error { return c.plane.Restore(ctx) }
