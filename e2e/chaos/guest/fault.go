package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// fault is the one that is put in so that the judge finds it, nil if there is none.
func (r *runner) fault() act {
	return map[string]act{job.FaultReset: r.resetSome, job.FaultDelete: r.deleteByHand, job.FaultStray: r.bringBack}[r.Fault]
}

// resetting refuses one new connection of TCP in 200, before IPVS sees it.
const resetting = `table inet fault {
	chain input {
		type filter hook input priority -10;
		tcp flags & (syn | ack) == syn numgen random mod 200 == 0 reject with tcp reset
	}
}
`

func (r *runner) resetSome(ctx context.Context, _ *rand.Rand) error {
	node := r.world.net.Node1
	run := func(stdin string, args ...string) error {
		cmd := node.Command(done(ctx), "nft", args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft %v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := run(resetting, "-f", "-"); err != nil {
		return err
	}
	r.did("fault", "one connection in 200 is refused")
	<-ctx.Done()
	return run("", "delete", "table", "inet", "fault")
}

// deleteByHand deletes a virtual server that somebody asks.
func (r *runner) deleteByHand(ctx context.Context, random *rand.Rand) error {
	for pause(ctx, 3*time.Second) == nil {
		to := r.world.choose(random)
		key := frontend.NewKey(to.at.Addr(), frontend.TCP, to.at.Port())
		table, err := agent.Table(done(ctx), r.world.net.Node1)
		if err != nil {
			return err
		}
		plan := ipvs.Diff(table.Only([]frontend.Key{key}), nil)
		if len(plan) == 0 {
			continue // its Service was created a moment ago
		}
		r.did("fault", "%s is deleted by hand", key)
		r.book.Deleted(to.at)
		if err := r.apply(done(ctx), plan); err != nil {
			return err
		}
	}
	return nil
}

// bringBack puts real servers back that have gone, as an agent does that has not heard of it.
func (r *runner) bringBack(ctx context.Context, _ *rand.Rand) error {
	before, err := agent.Table(done(ctx), r.world.net.Node1)
	if err != nil {
		return err
	}
	for pause(ctx, time.Second) == nil {
		now, err := agent.Table(done(ctx), r.world.net.Node1)
		if err != nil {
			return err
		}
		want := now.Clone()
		for key, entry := range now {
			for addr, real := range before[key].Reals {
				if have, there := entry.Reals[addr]; !there || have.Weight == 0 {
					want[key].Reals[addr] = ipvs.RealServer{Forwarding: real.Forwarding, Weight: 1}
				}
			}
		}
		plan := ipvs.Diff(now, want)
		if len(plan) == 0 {
			continue
		}
		r.did("fault", "%d real servers are brought back by hand", len(plan))
		if err := r.apply(done(ctx), plan); err != nil {
			r.say("not all were brought back: %v", err) // the agent writes too
		}
	}
	return nil
}

// apply writes to the node's table beside the agent.
func (r *runner) apply(ctx context.Context, plan ipvs.Plan) error {
	return r.world.net.Node1.Do(func() error {
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		defer kernel.Close()
		for _, failed := range ipvs.Apply(ctx, kernel, plan).Failed {
			return failed
		}
		return nil
	})
}

// realOf says whether an address is one of a pod of the lab.
func realOf(addr netip.Addr) bool {
	return netip.MustParsePrefix("10.244.0.0/16").Contains(addr) || netip.MustParsePrefix("fd44::/16").Contains(addr)
}
