package nodes

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// agents are those of the nodes, one on each at most.
type agents struct {
	life       context.Context // whose end kills them
	node       func(name string) (*topo.Host, error)
	kubeconfig string

	mu      sync.Mutex
	running map[string]*agent.Agent
	last    map[string]*agent.Agent // running or not
}

func newAgents(life context.Context, node func(string) (*topo.Host, error), kubeconfig string) *agents {
	return &agents{life: life, node: node, kubeconfig: kubeconfig, running: map[string]*agent.Agent{}, last: map[string]*agent.Agent{}}
}

func (a *agents) start(_ context.Context, o AgentOptions) error {
	host, err := a.node(o.Node)
	if err != nil {
		return err
	}
	a.mu.Lock()
	running := a.running[o.Node]
	a.mu.Unlock()
	if running != nil {
		return fmt.Errorf("the agent on %s runs", o.Node)
	}
	started, err := agent.Start(a.life, host, agent.Options{
		Kubeconfig: a.kubeconfig, Binary: o.Program, StateDir: "/run/kube-ipvs-" + o.Node, Flags: o.Flags,
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running[o.Node], a.last[o.Node] = started, started
	return nil
}

func (a *agents) stop(_ context.Context, node string) error {
	running, err := a.take(node)
	if err != nil {
		return err
	}
	return running.Stop()
}

func (a *agents) kill(_ context.Context, node string) error {
	running, err := a.take(node)
	if err != nil {
		return err
	}
	return running.Kill()
}

func (a *agents) take(node string) (*agent.Agent, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	running := a.running[node]
	if running == nil {
		return nil, fmt.Errorf("no agent runs on %s", node)
	}
	delete(a.running, node)
	return running, nil
}

func (a *agents) log(_ context.Context, node string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last[node] == nil {
		return "", nil
	}
	return a.last[node].Log(), nil
}

func (a *agents) metrics(ctx context.Context, node string) (map[string]float64, error) {
	a.mu.Lock()
	running := a.running[node]
	a.mu.Unlock()
	if running == nil {
		return nil, fmt.Errorf("no agent runs on %s", node)
	}
	return running.Metrics(ctx)
}

func (a *agents) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, running := range a.running {
		_ = running.Kill()
	}
}

func (n *Nodes) addAddress(_ context.Context, a Address) error {
	host, err := n.node(a.Node)
	if err != nil {
		return err
	}
	return host.AddAddress(a.Device, a.Prefix)
}

func (n *Nodes) removeAddress(_ context.Context, a Address) error {
	host, err := n.node(a.Node)
	if err != nil {
		return err
	}
	return host.RemoveAddress(a.Device, a.Prefix)
}

// run runs a program to its end.
func (n *Nodes) run(ctx context.Context, c Command) (Result, error) {
	host, err := n.host(c.Place)
	if err != nil {
		return Result{}, err
	}
	if len(c.Args) == 0 {
		return Result{}, errors.New("run: no command")
	}
	cmd := host.Command(ctx, c.Args[0], c.Args[1:]...)
	cmd.Stdin = strings.NewReader(c.Stdin)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return Result{Code: exit.ExitCode(), Output: string(out)}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("run %v on %s: %w: %s", c.Args, c.Place, err, out)
	}
	return Result{Output: string(out)}, nil
}
