// Package kindcluster is the suite's provider kind: a running cluster that deploy/kind/run.sh has made, with the agent as a
// DaemonSet beside kube-proxy. Its nodes are containers of this machine, which is outside.
//
//	test ─► this machine ──────────────────────────────► node ports     Outside
//	     ─► API server, exec ─► Pod of a case ─────────► node ports     NAMESPACE/NAME
//	                       └──► Pod on a node's network ► node ports    the node's name
//
// It does what every provider must. Single agents, addresses and the API server it leaves alone: cases that need them are
// not for it, and it counts them.
package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// How long things may take.
const (
	readyPatience = 3 * time.Minute  // until the Pods on the nodes run
	rollPatience  = 10 * time.Minute // until every agent is replaced
	closePatience = time.Minute
	pollPause     = 250 * time.Millisecond
)

// Cluster is a running cluster.
type Cluster struct {
	*places
	config   *rest.Config
	client   kubernetes.Interface
	exec     execFunc
	progress io.Writer
	nodes    []suite.Node
	clients  []netip.Addr
	end      context.CancelFunc

	mu      sync.Mutex
	errs    []error           // what Verdict has to say
	notFor  map[string]string // cases by name, and what they need
	probing bool              // the Pods on the nodes were created
}

// Start finds the cluster of the kubeconfig, whose context must be one of kind's, and prepares to ask from its nodes. The
// end of ctx ends every request; Close removes what Start has created, and leaves the cluster.
func Start(ctx context.Context, progress io.Writer) (*Cluster, error) {
	config, err := kindConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("start on kind: %w", err)
	}
	c := newCluster(ctx, config, client, executor(config, client), progress)
	if err := c.start(ctx); err != nil {
		return nil, fmt.Errorf("start on kind: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

func newCluster(ctx context.Context, config *rest.Config, client kubernetes.Interface, exec execFunc, progress io.Writer) *Cluster {
	c := &Cluster{config: config, client: client, exec: exec, progress: progress, notFor: map[string]string{}}
	ctx, c.end = context.WithCancel(ctx)
	c.places = newPlaces(ctx, exec, c.podOn)
	return c
}

func (c *Cluster) start(ctx context.Context) error {
	var err error
	if c.nodes, err = findNodes(ctx, c.client); err != nil {
		return err
	}
	if c.clients, err = sources(ctx, c.nodes); err != nil {
		return err
	}
	if err := c.reach(ctx); err != nil {
		return err
	}
	c.say("all agents are ready and reached from here: %v", c.clients)
	c.probing = true
	if err := createProbes(ctx, c.client); err != nil {
		return err
	}
	if err := c.waitProbes(ctx); err != nil {
		return err
	}
	return c.followReadiness(c.life)
}

// Config implements suite.Provider.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Nodes implements suite.Provider.
func (c *Cluster) Nodes() []suite.Node { return c.nodes }

// Clients implements suite.Provider: this machine, as the nodes see it.
func (c *Cluster) Clients() []netip.Addr { return c.clients }

// NotFor is told of a case that needs what this provider is not.
func (c *Cluster) NotFor(test, need string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notFor[test] = need
	c.say("%s needs %s: not for this provider", test, need)
}

// Close implements suite.Provider.
func (c *Cluster) Close() error {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.notFor); n > 0 {
		c.say("%d cases were not for this provider, and show nothing about it", n)
		c.notFor = nil
	}
	if !c.probing {
		return nil
	}
	c.probing = false
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	return deleteProbes(ctx, c.client)
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.progress, "kind: "+format+"\n", args...)
}
