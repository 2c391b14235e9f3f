package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// strip keeps the fields that Translate reads, so that a node remembers no more of the cluster than it needs. Anything
// but the kinds below passes unchanged (the informer's mark for an object that was deleted unseen).
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Service:
		return stripService(o), nil
	case *discoveryv1.EndpointSlice:
		return stripSlice(o), nil
	case *corev1.Node:
		return stripNode(o), nil
	case *metav1.PartialObjectMetadata:
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: o.Name, ResourceVersion: o.ResourceVersion, Labels: o.Labels}}, nil
	}
	return obj, nil
}

// identity keeps the resource version too, by which an object listed again is recognised as the same.
func identity(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         m.Namespace,
		Name:              m.Name,
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp,
	}
}

func stripService(svc *corev1.Service) *corev1.Service {
	stripped := &corev1.Service{
		ObjectMeta: identity(svc.ObjectMeta),
		Spec: corev1.ServiceSpec{
			Type:                  svc.Spec.Type,
			ClusterIP:             svc.Spec.ClusterIP,
			ClusterIPs:            svc.Spec.ClusterIPs,
			IPFamilies:            svc.Spec.IPFamilies,
			Ports:                 svc.Spec.Ports,
			ExternalTrafficPolicy: svc.Spec.ExternalTrafficPolicy,
			SessionAffinity:       svc.Spec.SessionAffinity,
			SessionAffinityConfig: svc.Spec.SessionAffinityConfig,
			HealthCheckNodePort:   svc.Spec.HealthCheckNodePort,

			LoadBalancerSourceRanges: svc.Spec.LoadBalancerSourceRanges,
		},
	}
	stripped.Labels = only(svc.Labels, func(key string) bool { return key == labelServiceProxyName })
	stripped.Annotations = only(svc.Annotations, isRead)
	return stripped
}

func stripSlice(slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	stripped := &discoveryv1.EndpointSlice{
		ObjectMeta:  identity(slice.ObjectMeta),
		AddressType: slice.AddressType,
		Ports:       slice.Ports,
		Endpoints:   make([]discoveryv1.Endpoint, len(slice.Endpoints)),
	}
	stripped.Labels = only(slice.Labels, func(key string) bool {
		return key == discoveryv1.LabelServiceName || key == corev1.IsHeadlessService
	})
	stripped.Annotations = only(slice.Annotations, func(key string) bool { return key == corev1.EndpointsLastChangeTriggerTime })
	for i, e := range slice.Endpoints {
		kept := &stripped.Endpoints[i]
		kept.Conditions, kept.NodeName, kept.Zone, kept.Hints = e.Conditions, e.NodeName, e.Zone, e.Hints
		if len(e.Addresses) > 0 {
			kept.Addresses = e.Addresses[:1]
		}
		if ref := e.TargetRef; ref != nil {
			kept.TargetRef = &corev1.ObjectReference{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
		}
	}
	return stripped
}

func stripNode(node *corev1.Node) *corev1.Node {
	stripped := &corev1.Node{
		ObjectMeta: identity(node.ObjectMeta),
		Spec:       corev1.NodeSpec{PodCIDR: node.Spec.PodCIDR, PodCIDRs: node.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: node.Status.Addresses},
	}
	stripped.DeletionTimestamp = node.DeletionTimestamp
	for _, t := range node.Spec.Taints {
		if t.Key == taintToBeDeleted {
			stripped.Spec.Taints = append(stripped.Spec.Taints, corev1.Taint{Key: t.Key})
		}
	}
	stripped.Labels = only(node.Labels, func(key string) bool { return key == corev1.LabelTopologyZone })
	return stripped
}

// only is nil rather than an empty map.
func only(in map[string]string, keep func(key string) bool) map[string]string {
	var out map[string]string
	for key, value := range in {
		if keep(key) {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}
