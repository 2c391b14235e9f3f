package main

import (
	"context"
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
	k.running = a
	k.ready = append(k.ready, time.Since(begin))
	return nil
}

// end ends the process, by SIGTERM or by SIGKILL.
func (k *keeper) end(gently bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
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

// current is the process that was started last.
func (k *keeper) current() *agent.Agent {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.running
}

func (k *keeper) close() error {
	if k.running != nil {
		if err := k.running.Kill(); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(k.log, "==== process %d\n%s", k.running.PID(), k.running.Log())
	}
	return k.log.Close()
}
