package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Options are the credentials that nodes need.
type Options struct {
	Kubeconfig      string // of the kubelets: an administrator's
	AgentKubeconfig string
	ProxyKubeconfig string
}

// Nodes are the nodes of a cluster.
type Nodes struct {
	network *topo.Topology
	kubelet *kubelet
	traffic *traffic
	agents  *agents
	proxies *proxies
}

// Serve builds the network, registers its nodes and runs them until ctx ends. Agents and kube-proxies run when they are
// asked for.
func Serve(ctx context.Context, o Options) error {
	client, err := newClient(o.Kubeconfig)
	if err != nil {
		return err
	}
	if err := trackMany(ctx); err != nil {
		return err
	}
	network, err := topo.New(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = network.Close() }()
	if err := network.JoinUserNetwork(); err != nil {
		return err
	}
	hosts := []*topo.Host{network.Node1, network.Node2}
	for _, node := range hosts {
		if err := Register(ctx, client, node, zones[node.Name]); err != nil {
			return err
		}
	}
	n := &Nodes{network: network, kubelet: newKubelet(client, network)}
	n.traffic = newTraffic(ctx, n.host)
	n.agents = newAgents(ctx, n.node, o.AgentKubeconfig)
	n.proxies = newProxies(ctx, n.node, o.ProxyKubeconfig)
	defer n.agents.close()
	defer n.proxies.close()
	if err := n.kubelet.start(ctx); err != nil {
		return err
	}
	return n.listen(ctx)
}

// newClient returns an administrator's client, which nothing slows down.
func newClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return client, nil
}

func (n *Nodes) listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", fmt.Sprintf(":%d", Port))
	if err != nil {
		return fmt.Errorf("listen for the host: %w", err)
	}
	server := &http.Server{Handler: n.handler(), ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the host: %w", err)
	}
	return context.Cause(ctx)
}

// host returns where to ask from.
func (n *Nodes) host(place string) (*topo.Host, error) {
	if place == Client {
		return n.network.Client, nil
	}
	if pod := n.kubelet.host(place); pod != nil {
		return pod, nil
	}
	return n.node(place)
}

func (n *Nodes) node(name string) (*topo.Host, error) {
	for _, node := range []*topo.Host{n.network.Node1, n.network.Node2} {
		if node.Name == name {
			return node, nil
		}
	}
	return nil, fmt.Errorf("there is no %s", name)
}
