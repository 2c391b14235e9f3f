// Command demo shows the main job of kube-ipvs to a person, on a real kernel: `make demo` runs it in a guest. It builds
// a small network of namespaces, runs the agent there and says before each step why it is taken. Each line that starts
// with "ok" is a promise that was checked; a promise that does not hold makes the exit code 1, so the demo is a test
// too.
//
// Each act is a file. The acts share the cast, and print and check through the stage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// limit is far more than the demo takes: it ends one that hangs, so that it tells where.
const limit = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err := run(ctx)
	cancel()
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s := newStage(os.Stdout)
	c := &cast{stage: s}
	err := play(ctx, c)
	if err != nil {
		s.broken("the act could not go on", err)
	}
	if s.failed > 0 {
		c.showAgentLogs()
	}
	if closing := c.close(); closing != nil {
		s.broken("the lab could not be taken down", closing)
	}
	return s.curtain()
}

// play runs the acts. An act that cannot go on ends the play; a promise that does not hold does not.
func play(ctx context.Context, c *cast) error {
	acts := []struct {
		title, why string
		play       func(context.Context) error
	}{
		{
			"What is there",
			"A lab of network namespaces stands for a small cluster and a client outside of it.",
			c.showLab,
		},
		{
			"The agent fills the IPVS table",
			"The agent turns two Services into IPVS virtual servers on the addresses that were chosen.",
			c.showTable,
		},
		{
			"Requests from the client",
			"The table is only as good as the packets that go through it: the client asks on every address.",
			c.showRequests,
		},
		{
			"A pod leaves and another joins, under load",
			"A rollout must not cost a request: who leaves gets no new connection and keeps those it has.",
			c.showRollout,
		},
		{
			"An address appears",
			"Addresses come and go on a node: a new one that is chosen must serve without a restart.",
			c.showNewAddress,
		},
		{
			"The agent dies and comes back, under load",
			"The kernel forwards without the agent, and a new agent takes over what is there.",
			c.showRestart,
		},
		{
			"Cleanup",
			"What the agent made must be easy to remove, and nothing else may go with it.",
			c.showCleanup,
		},
	}
	for _, act := range acts {
		c.act(act.title, act.why)
		if err := act.play(ctx); err != nil {
			if cause := ctx.Err(); errors.Is(cause, context.DeadlineExceeded) {
				err = fmt.Errorf("the demo did not end within %s: %w", limit, err)
			}
			return err
		}
	}
	return nil
}
