package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/filter"
)

// showRestart kills the agent while the client asks, and starts it again.
func (c *cast) showRestart(ctx context.Context) error {
	table, err := agent.Table(ctx, c.net.Node1)
	if err != nil {
		return err
	}
	ruleset, err := c.ruleset()
	if err != nil {
		return err
	}
	t := c.startTraffic(ctx)
	defer t.stop()
	if err := t.more(ctx, settled); err != nil {
		return err
	}
	c.say("$ kill -9 %d", c.agent().PID())
	if err := c.agent().Kill(); err != nil {
		return err
	}
	before := t.ended()
	if err := t.more(ctx, 2*settled); err != nil {
		return err
	}
	alone := t.ended() - before
	c.say("$ kube-ipvs run ...\n")
	ready, err := c.startAgent(ctx)
	if err != nil {
		return err
	}
	if err := t.more(ctx, settled); err != nil {
		return err
	}
	total := t.stop()
	c.promise(len(total.Failures) == 0, fmt.Sprintf("0 of %d requests failed; %d of them were sent while no agent ran", total.Answers()+len(total.Failures), alone), total)
	return c.promiseNothingWritten(ctx, table.String(), ruleset, ready)
}

// promiseNothingWritten compares the kernel with what it was before the restart.
func (c *cast) promiseNothingWritten(ctx context.Context, table string, ruleset uint32, ready time.Duration) error {
	operations, err := c.agent().Operations(ctx)
	if err != nil {
		return err
	}
	now, err := agent.Table(ctx, c.net.Node1)
	if err != nil {
		return err
	}
	rulesetNow, err := c.ruleset()
	if err != nil {
		return err
	}
	c.promise(operations == 0 && rulesetNow == ruleset,
		fmt.Sprintf("the new agent was ready after %s and wrote nothing to the kernel: 0 operations", rounded(ready)),
		fmt.Sprintf("%d operations; nftables generation %d, was %d", operations, rulesetNow, ruleset))
	c.promise(now.String() == table, "the IPVS table is as it was", now)
	return nil
}

// ruleset is the generation of node1's nftables ruleset, which every write to it raises.
func (c *cast) ruleset() (generation uint32, err error) {
	err = c.net.Node1.Do(func() error {
		generation, err = filter.Generation()
		return err
	})
	return generation, err
}
