package kube

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNetworksOfPodsAreReadFromTheNode(t *testing.T) {
	for _, c := range []struct {
		name     string
		spec     corev1.NodeSpec
		want     []string
		problems int
	}{
		{"none", corev1.NodeSpec{}, nil, 0},
		{"of both families", corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24", "fd44:1::/64"}}, []string{"10.244.1.0/24", "fd44:1::/64"}, 0},
		{"from before there were two", corev1.NodeSpec{PodCIDR: "10.244.1.0/24"}, []string{"10.244.1.0/24"}, 0},
		{"with bits behind the length", corev1.NodeSpec{PodCIDRs: []string{"10.244.1.7/24"}}, []string{"10.244.1.0/24"}, 0},
		{
			"some of them wrong",
			corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0", "::ffff:10.244.0.0/112", "fd44:1::/64"}},
			[]string{"fd44:1::/64"},
			2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []netip.Prefix
			for _, text := range c.want {
				want = append(want, netip.MustParsePrefix(text))
			}
			got, problems := translateNode(stripNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}, Spec: c.spec}))
			if !slices.Equal(got.PodCIDRs, want) || len(problems) != c.problems {
				t.Errorf("networks %v, problems %v; want %v and %d problems", got.PodCIDRs, problems, want, c.problems)
			}
		})
	}
}

func TestOnlyAddressesOfTheNodeAreRead(t *testing.T) {
	got, problems := translateNode(&corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "node1"},
		{Type: corev1.NodeInternalIP, Address: "::ffff:10.1.0.10"},
		{Type: corev1.NodeInternalIP, Address: "fe80::1%eth0"},
		{Type: corev1.NodeInternalIP, Address: "node1"},
		{Type: corev1.NodeInternalIP, Address: "fd01::10"},
		{Type: corev1.NodeExternalIP, Address: "192.0.2.10"},
	}}})
	if len(got.InternalIPs) != 1 || got.InternalIPs[0].String() != "fd01::10" ||
		len(got.ExternalIPs) != 1 || got.ExternalIPs[0].String() != "192.0.2.10" || len(problems) != 3 {
		t.Errorf("%+v, problems %v", got, problems)
	}
}

// A node is cordoned, or under pressure, far more often than it goes away: its load balancers keep it then.
func TestOnlyANodeThatGoesAwayIsIneligible(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		node corev1.Node
		want bool
	}{
		"as any":               {corev1.Node{}, false},
		"cordoned":             {corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: corev1.TaintNodeUnschedulable}}}}, false},
		"to be removed":        {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a"}, {Key: "ToBeDeletedByClusterAutoscaler"}}}}, true},
		"maybe removed later":  {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "DeletionCandidateOfClusterAutoscaler"}}}}, false},
		"waits for finalizers": {corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, true},
	} {
		for _, n := range []*corev1.Node{&c.node, stripNode(&c.node)} {
			if got, _ := translateNode(n); (got.Ineligible != "") != c.want {
				t.Errorf("%s: ineligible %q, want %v", name, got.Ineligible, c.want)
			}
		}
	}
}
