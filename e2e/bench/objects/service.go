package objects

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// controller is what the slices are managed by. It leaves them alone, for their Services have no selector.
const controller = "endpointslice-controller.k8s.io"

// Nodes on which the endpoints are, none of which is the one that is measured.
var otherNodes = []string{"worker-a", "worker-b", "worker-c", "worker-d"}

// Service is the i-th, a NodePort Service without selector, with a node port chosen by the plan.
func (p Plan) Service(i int) *corev1.Service {
	single := corev1.IPFamilyPolicySingleStack
	return newService(fmt.Sprintf("service-%04d", i), p.tier(i), p.NodePort(i), single, corev1.IPv4Protocol)
}

// Slice is the EndpointSlice of the i-th Service.
func (p Plan) Slice(i int) *discoveryv1.EndpointSlice {
	s := newSlice(p.Service(i), discoveryv1.AddressTypeIPv4)
	for j := range p.Endpoints {
		s.Endpoints = append(s.Endpoints, newEndpoint(s, j, p.Endpoint(i, j).Addr(), otherNodes[(i+j)%len(otherNodes)]))
	}
	return s
}

func newService(name, tier string, nodePort uint16, policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{TierLabel: tier, "app": name}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, IPFamilyPolicy: &policy, IPFamilies: families,
			Ports: []corev1.ServicePort{{
				Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(port), NodePort: int32(nodePort),
			}},
		},
	}
}

// newSlice is a slice without endpoints, with the labels that the controller gives it: those of the Service and its own.
func newSlice(service *corev1.Service, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	labels := map[string]string{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: controller}
	for k, v := range service.Labels {
		labels[k] = v
	}
	name, protocol, number := "http", corev1.ProtocolTCP, int32(port)
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: Namespace, Name: service.Name + suffix[family], Labels: labels},
		AddressType: family,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &number}},
	}
}

// suffix stands for the letters that the controller makes up.
var suffix = map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "-b4n7c", discoveryv1.AddressTypeIPv6: "-x6k2q"}

func newEndpoint(s *discoveryv1.EndpointSlice, number int, addr netip.Addr, node string) discoveryv1.Endpoint {
	yes, no := true, false
	bits := addr.As16()
	pod := fmt.Sprintf("%s-7d9c5b6f4-%05d", s.Labels[discoveryv1.LabelServiceName], number)
	return discoveryv1.Endpoint{
		Addresses:  []string{addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
		NodeName:   &node,
		TargetRef: &corev1.ObjectReference{
			Kind: "Pod", Namespace: Namespace, Name: pod, UID: types.UID(fmt.Sprintf("5f3a9c1e-0000-4000-8000-%04x%x", number, bits[12:])),
		},
	}
}
