package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const (
	proxyHealth  = "127.0.0.1:10256"
	proxyStarts  = time.Minute
	proxyProgram = "kube-proxy"
)

// proxies are the kube-proxies of the nodes, one on each at most.
type proxies struct {
	life       context.Context // whose end kills them
	node       func(name string) (*topo.Host, error)
	kubeconfig string

	mu      sync.Mutex
	running map[string]*proxy
}

type proxy struct {
	cmd   *topo.Cmd
	log   bytes.Buffer // to be read after ended
	ended chan struct{}
}

func newProxies(life context.Context, node func(string) (*topo.Host, error), kubeconfig string) *proxies {
	return &proxies{life: life, node: node, kubeconfig: kubeconfig, running: map[string]*proxy{}}
}

// start starts kube-proxy and returns when it has written its rules, as its own health check says.
func (p *proxies) start(ctx context.Context, o AgentOptions) error {
	host, err := p.node(o.Node)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[o.Node] != nil {
		return fmt.Errorf("kube-proxy on %s runs", o.Node)
	}
	// Nothing that belongs to the whole machine is touched: its nodes are namespaces.
	args := slices.Concat([]string{
		"--kubeconfig", p.kubeconfig, "--hostname-override", host.Name, "--healthz-bind-address", proxyHealth,
		"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0",
	}, o.Flags)
	started := &proxy{cmd: host.Command(p.life, proxyProgram, args...), ended: make(chan struct{})}
	started.cmd.Stdout, started.cmd.Stderr = &started.log, &started.log
	if err := started.cmd.Start(); err != nil {
		return fmt.Errorf("start kube-proxy on %s: %w", o.Node, err)
	}
	go func() {
		_ = started.cmd.Wait()
		close(started.ended)
	}()
	if err := started.awaitReady(ctx, host); err != nil {
		_ = started.end(syscall.SIGKILL)
		return fmt.Errorf("start kube-proxy on %s: %w\n%s", o.Node, err, started.log.String())
	}
	p.running[o.Node] = started
	return nil
}

func (p *proxy) awaitReady(ctx context.Context, host *topo.Host) error {
	ctx, cancel := context.WithTimeout(ctx, proxyStarts)
	defer cancel()
	return agent.Eventually(ctx, "kube-proxy ready", func() error {
		select {
		case <-p.ended:
			cancel()
			return errors.New("it ended")
		default:
		}
		c, err := host.Dial(ctx, topo.TCP, netip.MustParseAddrPort(proxyHealth))
		if err != nil {
			return err
		}
		defer c.Close()
		response, err := getOn(ctx, c, "http://"+proxyHealth+"/healthz")
		if err == nil && response.Status != 200 {
			err = fmt.Errorf("status %d: %s", response.Status, response.Body)
		}
		return err
	})
}

func (p *proxy) end(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

func (p *proxies) stop(_ context.Context, node string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	running := p.running[node]
	if running == nil {
		return fmt.Errorf("no kube-proxy runs on %s", node)
	}
	delete(p.running, node)
	if err := running.end(syscall.SIGKILL); err != nil {
		return fmt.Errorf("stop kube-proxy on %s: %w", node, err)
	}
	return nil
}

func (p *proxies) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, running := range p.running {
		_ = running.end(syscall.SIGKILL)
	}
}
