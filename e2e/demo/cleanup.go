package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// showCleanup stops the agent for good and removes what it made.
func (c *cast) showCleanup(ctx context.Context) error {
	c.say("$ kill %d", c.agent().PID())
	if err := c.agent().Stop(); err != nil {
		return err
	}
	c.say("$ kube-ipvs cleanup\n")
	output, code, err := agent.Cleanup(ctx, c.net.Node1, "--state-dir", c.stateDir())
	if err != nil {
		return err
	}
	c.show(output)
	c.promise(code == 0, "cleanup succeeded", fmt.Sprint("exit code ", code))
	ours, foreign, err := c.split(ctx)
	if err != nil {
		return err
	}
	tables, err := c.net.Node1.Command(ctx, "nft", "list", "tables").CombinedOutput()
	if err != nil {
		return fmt.Errorf("nft list tables: %w: %s", err, tables)
	}
	c.promise(len(ours) == 0 && !strings.Contains(string(tables), "kube-ipvs"),
		"nothing of ours is left: no virtual server, no nftables table", fmt.Sprintf("%s%s", ours, tables))
	c.promise(foreign.Equal(c.foreign), "the foreign virtual server is as it was before the agent came", foreign)
	to := netip.AddrPortFrom(c.net.Node1.A4, webPort)
	answer, err := topo.Ask(ctx, c.net.Client, topo.HTTP, to)
	if err == nil {
		err = errors.New("an answer of " + answer.Pod)
	}
	c.promise(errors.Is(err, syscall.ECONNREFUSED), fmt.Sprintf("%s: connection refused", to), err)
	return nil
}
