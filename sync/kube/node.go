package kube

import (
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// taintToBeDeleted is what the cluster autoscaler puts on a node that it is about to remove.
const taintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// translateNode keeps the Node's addresses in the order of its status, and the networks of its pods. Host names among the
// addresses are none.
func translateNode(node *corev1.Node) (sync.Node, []sync.Problem) {
	result := sync.Node{Name: node.Name, Ineligible: ineligible(node)}
	r := &report{object: "Node " + node.Name}
	for _, a := range node.Status.Addresses {
		var into *[]netip.Addr
		switch a.Type {
		case corev1.NodeInternalIP:
			into = &result.InternalIPs
		case corev1.NodeExternalIP:
			into = &result.ExternalIPs
		default:
			continue
		}
		addr, err := netip.ParseAddr(a.Address)
		if err != nil || addr.Is4In6() || addr.Zone() != "" {
			r.invalid("%s %q is not an IPv4 or IPv6 address; it is not used", a.Type, a.Address)
			continue
		}
		*into = append(*into, addr)
	}
	result.PodCIDRs = podCIDRs(node, r)
	return result, r.problems
}

// ineligible says why load balancers should send the node nothing new, by the rules of kube-proxy's /healthz (KEP-3836);
// empty if they may.
func ineligible(node *corev1.Node) string {
	switch {
	case !node.DeletionTimestamp.IsZero():
		return "the Node is being deleted"
	case slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == taintToBeDeleted }):
		return "the cluster autoscaler is about to remove the node (taint " + taintToBeDeleted + ")"
	}
	return ""
}

// podCIDRs reads the networks of the node's pods, which the controller manager assigns if it is told to. podCIDR is the
// first of podCIDRs, for objects from before there were two.
func podCIDRs(node *corev1.Node, r *report) []netip.Prefix {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() {
			r.invalid("spec.podCIDRs: %q is not an IPv4 or IPv6 network; it is not used", text)
			continue
		}
		list = append(list, p.Masked())
	}
	return list
}

// setNode takes the Node of the agent and ignores every other.
func (s *State) setNode(node *corev1.Node) {
	if node.Name != s.options.NodeName {
		return
	}
	s.setZone(node.Labels[corev1.LabelTopologyZone])
	translated, problems := translateNode(node)
	if s.nodePresent && reflect.DeepEqual(translated, s.node) && slices.Equal(problems, s.nodeProblems) {
		return // A heartbeat: the node's status is written every few minutes.
	}
	s.nodeDirty = s.nodeDirty || !s.nodeKnown || !reflect.DeepEqual(translated, s.node)
	s.node, s.nodeProblems = translated, problems
	s.nodeKnown, s.nodePresent = true, true
	s.notify()
}

// setZone concerns every Service: whose endpoints have hints is not known without a look.
func (s *State) setZone(zone string) {
	if zone == s.options.Zone {
		return
	}
	s.options.Zone = zone
	for id := range s.services {
		s.mark(id)
	}
}

// deleteNode keeps the last value: the node runs us, so it is still there whatever became of its object.
func (s *State) deleteNode(name types.NamespacedName) {
	if name.Name != s.options.NodeName || !s.nodePresent {
		return
	}
	s.nodePresent, s.nodeProblems = false, nil
	s.notify()
}
