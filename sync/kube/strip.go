package kube

import (
	stdsync "sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stripper keeps the fields that Translate reads, so that a node remembers no more of the cluster than it needs, and gives
// values that many objects have one place in memory: an endpoint is a pointer to the name of its node, and nodes are few.
type stripper struct {
	// since is when changes begin to count: what an older one tells of when it happened is forgotten.
	since   time.Time
	yes, no bool

	mu    stdsync.Mutex
	texts map[string]*string
}

// maxTexts bounds what is remembered of names in a cluster whose nodes come and go: what is in use stays where it is.
const maxTexts = 1 << 14

func newStripper(since time.Time) *stripper {
	return &stripper{since: since, yes: true, texts: map[string]*string{}}
}

// strip is a transform for an informer. Anything but the kinds below passes unchanged (the informer's mark for an object that
// was deleted unseen).
func (s *stripper) strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Service:
		return stripService(o), nil
	case *discoveryv1.EndpointSlice:
		return s.stripSlice(o), nil
	case *corev1.Node:
		return stripNode(o), nil
	case *metav1.PartialObjectMetadata:
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: o.Name, ResourceVersion: o.ResourceVersion, Labels: o.Labels}}, nil
	}
	return obj, nil
}

// text points to a string equal to the given one.
func (s *stripper) text(text string) *string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.texts[text]; ok {
		return known
	}
	if len(s.texts) >= maxTexts {
		clear(s.texts)
	}
	s.texts[text] = new(text)
	return s.texts[text]
}

func (s *stripper) textIfAny(text *string) *string {
	if text == nil {
		return nil
	}
	return s.text(*text)
}

func (s *stripper) condition(c *bool) *bool {
	switch {
	case c == nil:
		return nil
	case *c:
		return &s.yes
	}
	return &s.no
}

// identity keeps the resource version too, for client-go.
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

func (s *stripper) stripSlice(slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	stripped := &discoveryv1.EndpointSlice{
		ObjectMeta:  identity(slice.ObjectMeta),
		AddressType: slice.AddressType,
		Ports:       slice.Ports,
		Endpoints:   make([]discoveryv1.Endpoint, len(slice.Endpoints)),
	}
	stripped.Labels = only(slice.Labels, func(key string) bool {
		return key == discoveryv1.LabelServiceName || key == corev1.IsHeadlessService
	})
	stripped.Annotations = only(slice.Annotations, func(key string) bool {
		return key == corev1.EndpointsLastChangeTriggerTime && triggerTime(slice).After(s.since)
	})
	// One array for all endpoints: single objects would lie scattered among what else a list brings, and keep its pages.
	addresses, targets := make([]string, 0, len(slice.Endpoints)), make([]corev1.ObjectReference, 0, len(slice.Endpoints))
	for i, e := range slice.Endpoints {
		kept := &stripped.Endpoints[i]
		kept.Conditions.Ready = s.condition(e.Conditions.Ready)
		kept.Conditions.Serving = s.condition(e.Conditions.Serving)
		kept.Conditions.Terminating = s.condition(e.Conditions.Terminating)
		kept.NodeName, kept.Zone, kept.Hints = s.textIfAny(e.NodeName), s.textIfAny(e.Zone), e.Hints
		if len(e.Addresses) > 0 {
			addresses = append(addresses, e.Addresses[0])
			kept.Addresses = addresses[len(addresses)-1 : len(addresses) : len(addresses)]
		}
		if ref := e.TargetRef; ref != nil {
			targets = append(targets, corev1.ObjectReference{Kind: *s.text(ref.Kind), Namespace: *s.text(ref.Namespace), Name: ref.Name})
			kept.TargetRef = &targets[len(targets)-1]
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
