package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// kindConfig reads KUBECONFIG. The suite makes and deletes Services and restarts agents: only a cluster of kind's will do.
func kindConfig() (*rest.Config, error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	if !strings.HasPrefix(raw.CurrentContext, "kind-") {
		return nil, fmt.Errorf("read kubeconfig: context %q is not one of kind's: see deploy/kind/run.sh", raw.CurrentContext)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// findNodes returns those that Pods without tolerations run on.
func findNodes(ctx context.Context, client kubernetes.Interface) ([]suite.Node, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("find nodes: %w", err)
	}
	var found []suite.Node
	for _, n := range list.Items {
		if n.Spec.Unschedulable || slices.ContainsFunc(n.Spec.Taints, repels) {
			continue
		}
		chosen, err := internalIPs(n.Status.Addresses)
		if err != nil {
			return nil, fmt.Errorf("find nodes: %s: %w", n.Name, err)
		}
		found = append(found, suite.Node{Name: n.Name, Chosen: chosen})
	}
	if len(found) < 2 {
		return nil, fmt.Errorf("find nodes: %d take Pods, and the suite needs two: %v", len(found), found)
	}
	slices.SortFunc(found, func(a, b suite.Node) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

func repels(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule }

// internalIPs are what --nodeport-addresses=primary chooses, which is what deploy/kind installs: one of each family, IPv4
// first.
func internalIPs(addresses []corev1.NodeAddress) ([]netip.Addr, error) {
	var chosen []netip.Addr
	for _, is := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		i := slices.IndexFunc(addresses, func(a corev1.NodeAddress) bool {
			ip, err := netip.ParseAddr(a.Address)
			return a.Type == corev1.NodeInternalIP && err == nil && is(ip)
		})
		if i < 0 {
			return nil, errors.New("the suite needs an address of each family")
		}
		chosen = append(chosen, netip.MustParseAddr(addresses[i].Address))
	}
	return chosen, nil
}

// sources are the addresses that this machine has towards the nodes.
func sources(ctx context.Context, nodes []suite.Node) ([]netip.Addr, error) {
	var found []netip.Addr
	for _, n := range nodes {
		for _, to := range n.Chosen {
			// Connecting a datagram socket sends nothing.
			c, err := new(net.Dialer).DialContext(ctx, "udp", netip.AddrPortFrom(to, agentPort).String())
			if err != nil {
				return nil, fmt.Errorf("find the way to %s: %w", n.Name, err)
			}
			if from := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !slices.Contains(found, from) {
				found = append(found, from)
			}
			c.Close()
		}
	}
	return found, nil
}

// reach asks every agent from here whether it is ready.
func (c *Cluster) reach(ctx context.Context) error {
	for _, n := range c.nodes {
		for _, a := range n.Chosen {
			r, err := c.Get(ctx, suite.Get{From: suite.Outside, URL: "http://" + netip.AddrPortFrom(a, agentPort).String() + "/readyz"})
			if err == nil && r.Status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", r.Status, r.Body)
			}
			if err != nil {
				return fmt.Errorf("reach the agent of %s from this machine (nodes in a virtual machine, as with Docker Desktop, cannot be): %w", n.Name, err)
			}
		}
	}
	return nil
}
