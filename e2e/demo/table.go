package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// showTable starts the agent and shows what it made.
func (c *cast) showTable(ctx context.Context) error {
	c.say("Addresses on network A are chosen by prefix, which leaves those for administration out; on")
	c.say("network B by interface.\n")
	c.say("$ kube-ipvs run --manifests ... --nodeport-addresses %s", chosen)
	ready, err := c.startAgent(ctx)
	if err != nil {
		return err
	}
	c.say("$ ipvsadm -Ln\n")
	ours, foreign, err := c.split(ctx)
	if err != nil {
		return err
	}
	whole := ours.Clone()
	for key, entry := range foreign {
		whole[key] = entry
	}
	c.show(c.listing(whole))
	c.promise(ours.Equal(c.want()), "2 Services on 4 addresses are 8 virtual servers, each with its Service's scheduler and pods", "short of\n"+c.lacks(ours))
	c.promise(foreign.Equal(c.foreign), "the foreign virtual server is as it was", foreign)
	c.promise(true, fmt.Sprintf("the agent was ready after %s (the machine is emulated, and loads kernel modules first)", rounded(ready)), nil)
	return nil
}

// listing is a table as ipvsadm -Ln prints it, with a remark on whose each entry is.
func (c *cast) listing(table ipvs.Table) string {
	var b strings.Builder
	line := func(left, forward, weight, remark string) {
		fmt.Fprintf(&b, "%-35s %-8s %-8s %s\n", left, forward, weight, remark)
	}
	line("Prot LocalAddress:Port Scheduler", "", "", "")
	line("  -> RemoteAddress:Port", "Forward", "Weight", "")
	for _, key := range table.Keys() {
		entry := table[key]
		protocol := strings.ToUpper(key.Protocol.String())
		line(fmt.Sprintf("%-4s %s %s", protocol, key.AddrPort(), entry.VirtualServer), "", "", c.owner(key))
		for _, addr := range entry.RealKeys() {
			line("  -> "+addr.String(), "Masq", fmt.Sprint(entry.Reals[addr].Weight), c.podAt(addr))
		}
	}
	return b.String()
}

// owner names the Service of a virtual server.
func (c *cast) owner(key frontend.Key) string {
	for _, s := range []*service{&c.web, &c.dns} {
		if s.key(key.Addr) == key {
			return "Service " + s.Name
		}
	}
	return "the foreign one"
}

// podAt names the pod that is a real server.
func (c *cast) podAt(addr netip.AddrPort) string {
	for _, s := range []*service{&c.web, &c.dns} {
		for _, b := range s.pods {
			if b.real(addr.Addr()) == addr {
				return b.Name + " on " + b.node.Name
			}
		}
	}
	return ""
}

// rounded is a duration for people.
func rounded(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
