package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// zones of the nodes.
var zones = map[string]string{Node1: "east", Node2: "west"}

// Register makes the Node object of a host, as its kubelet and kube-controller-manager would. Its InternalIPs are those on
// network A.
func Register(ctx context.Context, client kubernetes.Interface, host *topo.Host, zone string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: host.Name, Labels: map[string]string{
		corev1.LabelHostname: host.Name, corev1.LabelTopologyZone: zone, corev1.LabelOSStable: "linux",
	}}}
	for _, p := range host.PodCIDRs {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, p.String())
	}
	node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	status := corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: host.Name}},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}},
	}
	for _, a := range []netip.Addr{host.A4, host.A6} {
		status.Addresses = append(status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("register node %s: %w", host.Name, err)
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err == nil {
		_, err = client.CoreV1().Nodes().Patch(ctx, host.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		return fmt.Errorf("register node %s: %w", host.Name, err)
	}
	return nil
}
