package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// addressFlag chooses both networks of the node.
const addressFlag = "--nodeport-addresses=10.1.0.0/24,10.2.0.0/24,fd01::/64,fd02::/64"

// keeper runs the agent, one process after the other.
type keeper struct {
	node    *topo.Host
	options agent.Options
	log     *os.File // of all processes that have ended

	mu           sync.Mutex
	running      *agent.Agent
	ended        bool // the one that runs, by us
	ready        []time.Duration
	kills, stops int
}

// newKeeper starts the first process.
func newKeeper(ctx context.Context, r *runner) (*keeper, error) {
	k := &keeper{node: r.world.net.Node1, options: agent.Options{
		Kubeconfig: job.Kubeconfig, StateDir: "/run/kube-ipvs-chaos", Flags: []string{addressFlag},
	}}
	var err error
	if k.log, err = os.Create(filepath.Join(lab.OutDir, "agent.log")); err != nil {
		return nil, fmt.Errorf("keep the agent's log: %w", err)
	}
	return k, k.start(ctx)
}

// start returns when the agent is ready. An agent that was started is not ended by the end of ctx.
func (k *keeper) start(ctx context.Context) error {
	begin := time.Now()
	a, err := agent.Start(context.WithoutCancel(ctx), k.node, k.options)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running, k.ended = a, false
	k.ready = append(k.ready, time.Since(begin))
	return nil
}

// end ends the process, by SIGTERM or by SIGKILL. That it has ended by itself is an error: the kernel serves on, so that nobody else would
// see it.
func (k *keeper) end(gently bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.alive()
	if err != nil {
		_, _ = fmt.Fprintf(k.log, "==== process %d, which ended by itself\n%s", k.running.PID(), k.running.Log())
		return err
	}
	k.ended = true
	if gently {
		k.stops++
		err = k.running.Stop()
	} else {
		k.kills++
		err = k.running.Kill()
	}
	_, _ = fmt.Fprintf(k.log, "==== process %d\n%s", k.running.PID(), k.running.Log())
	return err
}

// alive is an error if the process has ended by itself.
func (k *keeper) alive() error {
	if k.ended {
		return nil
	}
	select {
	case <-k.running.Ended():
		return fmt.Errorf("the agent, process %d, has ended by itself: its last words are in the log", k.running.PID())
	default:
		return nil
	}
}

// current is the process that was started last.
func (k *keeper) current() *agent.Agent {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.running
}

func (k *keeper) close() error {
	if k.running != nil {
		if err := errors.Join(k.alive(), k.running.Kill()); err != nil {
			_, _ = fmt.Fprintf(k.log, "==== process %d\n%s", k.running.PID(), k.running.Log())
			return errors.Join(err, k.log.Close())
		}
		_, _ = fmt.Fprintf(k.log, "==== process %d\n%s", k.running.PID(), k.running.Log())
	}
	return k.log.Close()
}
