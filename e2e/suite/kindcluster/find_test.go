package kindcluster

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func node(name string, ips ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, ip := range ips {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return n
}

func tainted(n *corev1.Node, effect corev1.TaintEffect) *corev1.Node {
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "key", Effect: effect})
	return n
}

func TestNodesAreThoseThatTakePodsWithTheirInternalAddresses(t *testing.T) {
	client := fake.NewClientset(
		tainted(node("control-plane", "172.18.0.2", "fc00::2"), corev1.TaintEffectNoSchedule),
		node("worker2", "fc00::4", "172.18.0.4"),
		tainted(node("worker", "172.18.0.3", "fc00::3", "172.18.0.33"), corev1.TaintEffectPreferNoSchedule),
	)
	found, err := findNodes(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	want := []suite.Node{
		{Name: "worker", Chosen: []netip.Addr{netip.MustParseAddr("172.18.0.3"), netip.MustParseAddr("fc00::3")}},
		{Name: "worker2", Chosen: []netip.Addr{netip.MustParseAddr("172.18.0.4"), netip.MustParseAddr("fc00::4")}},
	}
	if diff := cmp.Diff(want, found, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestAClusterThatIsTooSmallForTheSuiteIsRefused(t *testing.T) {
	for want, objects := range map[string][2]*corev1.Node{
		"needs two":                 {node("worker", "172.18.0.3", "fc00::3"), tainted(node("other", "172.18.0.4", "fc00::4"), corev1.TaintEffectNoExecute)},
		"an address of each family": {node("worker", "172.18.0.3", "fc00::3"), node("worker2", "172.18.0.4")},
	} {
		found, err := findNodes(t.Context(), fake.NewClientset(objects[0], objects[1]))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want an error: %s", found, err, want)
		}
	}
}

func TestThisMachineIsWhomNodesSee(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	found, err := sources(t.Context(), []suite.Node{{Name: "one", Chosen: []netip.Addr{loopback}}, {Name: "two", Chosen: []netip.Addr{loopback}}})
	if err != nil || len(found) != 1 || found[0] != loopback {
		t.Errorf("%v, %v", found, err)
	}
}

func TestOnlyAContextOfKindIsTouched(t *testing.T) {
	for context, touched := range map[string]bool{"kind-kube-ipvs": true, "production": false} {
		file := filepath.Join(t.TempDir(), "config")
		text := strings.ReplaceAll(`{"apiVersion": "v1", "kind": "Config", "current-context": "NAME",
			"contexts": [{"name": "NAME", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
			"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}]}`, "NAME", context)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("KUBECONFIG", file)
		config, err := kindConfig()
		if (err == nil) != touched || touched && config.Host != "https://127.0.0.1:6443" {
			t.Errorf("%s: %v, %v", context, config, err)
		}
	}
}
