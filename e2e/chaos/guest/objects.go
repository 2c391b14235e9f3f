package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// deployment has pods, which several Services may have as endpoints.
type deployment struct {
	name string
	roll sync.Mutex // one roll at a time

	mu     sync.Mutex
	pods   []*pod // those in slices
	number int    // of the last pod
}

// pod is one of a deployment.
type pod struct {
	*topo.Pod
	node        *topo.Host
	terminating bool
}

// service is a NodePort Service of TCP and UDP on the same port.
type service struct {
	name       string
	deployment *deployment
	scheduler  string
	policy     corev1.ServiceExternalTrafficPolicy
	affinity   corev1.ServiceAffinity
	networks   string // of those that the agent serves; "" is all

	port int32 // guarded by the world's

	mu     sync.Mutex // of what the API server has
	object *corev1.Service
	slices map[discoveryv1.AddressType]*discoveryv1.EndpointSlice
	gone   bool
}

// schedulers that Services have and get. Not dh, which leaves nobody time to drain.
var schedulers = []string{"rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq"}

// newService is one of some kind.
func newService(name string, d *deployment, port int32, random *rand.Rand) *service {
	s := &service{
		name: name, deployment: d, port: port, scheduler: schedulers[random.IntN(len(schedulers))],
		policy: corev1.ServiceExternalTrafficPolicyCluster, affinity: corev1.ServiceAffinityNone,
		slices: map[discoveryv1.AddressType]*discoveryv1.EndpointSlice{},
	}
	switch random.IntN(6) {
	case 0:
		s.policy = corev1.ServiceExternalTrafficPolicyLocal
	case 1:
		s.affinity = corev1.ServiceAffinityClientIP
	}
	return s
}

// How a Service chooses its scheduler and its networks.
const (
	schedulerAnnotation = "kube-ipvs.io/scheduler"
	networksAnnotation  = "kube-ipvs.io/networks"
)

// draft is the Service as it is to be.
func (s *service) draft() *corev1.Service {
	dual := corev1.IPFamilyPolicyRequireDualStack
	object := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s.name, Annotations: map[string]string{schedulerAnnotation: s.scheduler}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, IPFamilyPolicy: &dual, ExternalTrafficPolicy: s.policy, SessionAffinity: s.affinity,
		},
	}
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		object.Spec.Ports = append(object.Spec.Ports, corev1.ServicePort{
			Name: portName(p), Protocol: p, Port: 80, TargetPort: intstr.FromInt32(topo.Port), NodePort: s.port,
		})
	}
	if s.networks != "" {
		object.Annotations[networksAnnotation] = s.networks
	}
	return object
}

func portName(p corev1.Protocol) string {
	if p == corev1.ProtocolTCP {
		return "tcp"
	}
	return "udp"
}

// families of addresses, and what the names of their slices end in.
var families = map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "v4", discoveryv1.AddressTypeIPv6: "v6"}

// writeSlices writes what the deployment has. The Service's lock is held.
func (w *world) writeSlices(ctx context.Context, s *service) error {
	for family, suffix := range families {
		want := s.slice(family, s.name+"-"+suffix, s.deployment.endpoints(family))
		written, err := w.writeSlice(ctx, s.slices[family], want)
		if err != nil {
			return err
		}
		s.slices[family] = written
	}
	return nil
}

// writeSlice creates or updates one.
func (w *world) writeSlice(ctx context.Context, before, want *discoveryv1.EndpointSlice) (written *discoveryv1.EndpointSlice, err error) {
	client := w.client.DiscoveryV1().EndpointSlices(namespace)
	if before == nil {
		written, err = client.Create(ctx, want, metav1.CreateOptions{})
	} else {
		changed := before.DeepCopy()
		changed.Endpoints = want.Endpoints
		written, err = client.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("write EndpointSlice %s: %w", want.Name, err)
	}
	return written, nil
}

func (s *service) slice(family discoveryv1.AddressType, name string, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
			discoveryv1.LabelServiceName: s.name, discoveryv1.LabelManagedBy: "chaos",
		}},
		AddressType: family, Endpoints: endpoints,
	}
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		name, port := portName(p), int32(topo.Port)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &p, Port: &port})
	}
	return slice
}

// endpoints are the pods as a slice has them.
func (d *deployment) endpoints(family discoveryv1.AddressType) []discoveryv1.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []discoveryv1.Endpoint{}
	for _, p := range d.pods {
		addr := p.Addr4
		if family == discoveryv1.AddressTypeIPv6 {
			addr = p.Addr6
		}
		all = append(all, endpoint(addr.String(), p.node.Name, !p.terminating))
	}
	return all
}

// endpoint is one that is ready, or one that terminates and serves.
func endpoint(addr, node string, ready bool) discoveryv1.Endpoint {
	serving, terminating := true, !ready
	return discoveryv1.Endpoint{
		Addresses: []string{addr}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
}
