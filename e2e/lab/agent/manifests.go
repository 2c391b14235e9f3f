package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Manifests is a directory of objects, each in a file of its own. A file is replaced in one step, so that the agent never
// sees half of it.
type Manifests struct{ Dir string }

// NewManifests is for a directory that exists.
func NewManifests(dir string) *Manifests { return &Manifests{Dir: dir} }

// Service is what a test says of a Service. Values are not checked: bad ones are written too.
type Service struct {
	Namespace    string // default if empty
	Name         string
	Type         corev1.ServiceType // NodePort if empty
	Ports        []Port
	Annotations  map[string]string
	Labels       map[string]string
	Policy       corev1.ServiceExternalTrafficPolicy // Cluster if empty
	Affinity     corev1.ServiceAffinity              // None if empty
	Created      time.Time                           // no creationTimestamp if zero
	HealthCheck  int32                               // healthCheckNodePort
	SourceRanges []string                            // loadBalancerSourceRanges
}

// Port is one of a Service.
type Port struct {
	Name     string
	Protocol corev1.Protocol // TCP if empty
	Port     int32           // NodePort if 0
	NodePort int32
	Target   int32 // the pods' port; topo.Port if 0
}

// Endpoint is a pod behind a Service, with the conditions of its EndpointSlice.
type Endpoint struct {
	Pod                         *topo.Pod
	Addrs                       []netip.Addr // instead of Pod's: an endpoint without a pod
	Node                        string
	Zone                        string // none if empty
	Ready, Serving, Terminating bool
}

// Ready is an endpoint that gets traffic.
func Ready(pod *topo.Pod, node *topo.Host) Endpoint {
	return Endpoint{Pod: pod, Node: node.Name, Ready: true, Serving: true}
}

// ReadyHost is a server on a node's own addresses that gets traffic. The ports of its Service have to target its port.
func ReadyHost(s *topo.HostServer) Endpoint {
	return Endpoint{Addrs: []netip.Addr{s.Addr4, s.Addr6}, Node: s.Node.Name, Ready: true, Serving: true}
}

// Terminating is an endpoint whose pod was told to stop and still serves.
func Terminating(pod *topo.Pod, node *topo.Host) Endpoint {
	return Endpoint{Pod: pod, Node: node.Name, Serving: true, Terminating: true}
}

func (e Endpoint) addrs() []netip.Addr {
	if e.Pod == nil {
		return e.Addrs
	}
	return []netip.Addr{e.Pod.Addr4, e.Pod.Addr6}
}

// Node writes a Node with the networks of its pods. Its InternalIP addresses are those on network A.
func (m *Manifests) Node(h *topo.Host) error { return m.LabelledNode(h, nil) }

// LabelledNode writes a Node as Manifests.Node does, with labels.
func (m *Manifests) LabelledNode(h *topo.Host, labels map[string]string) error {
	node := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: h.Name, Labels: labels},
	}
	for _, p := range h.PodCIDRs {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, p.String())
	}
	for _, a := range []netip.Addr{h.A4, h.A6} {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	return m.object("node-"+h.Name+".yaml", node)
}

// Service writes a Service.
func (m *Manifests) Service(s Service) error {
	svc := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace(), Name: s.Name, Annotations: s.Annotations, Labels: s.Labels,
			CreationTimestamp: metav1.NewTime(s.Created),
		},
		Spec: corev1.ServiceSpec{
			Type:                  cmp.Or(s.Type, corev1.ServiceTypeNodePort),
			ExternalTrafficPolicy: s.Policy,
			SessionAffinity:       s.Affinity,
			HealthCheckNodePort:   s.HealthCheck,

			LoadBalancerSourceRanges: s.SourceRanges,
		},
	}
	for _, p := range s.Ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: p.Name, Protocol: p.protocol(), Port: cmp.Or(p.Port, p.NodePort), NodePort: p.NodePort,
			TargetPort: intstr.FromInt32(p.target()),
		})
	}
	return m.object(s.File(), svc)
}

// Endpoints writes the EndpointSlices of a Service, one for each family.
func (m *Manifests) Endpoints(s Service, endpoints []Endpoint) error {
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		if err := m.object(s.slice(family)+".yaml", s.endpointSlice(family, endpoints)); err != nil {
			return err
		}
	}
	return nil
}

func (s Service) endpointSlice(family discoveryv1.AddressType, endpoints []Endpoint) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace(), Name: s.Name + "-" + lower(family),
			Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: family,
		Endpoints:   []discoveryv1.Endpoint{},
	}
	for _, p := range s.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: new(p.Name), Protocol: new(p.protocol()), Port: new(p.target()),
		})
	}
	for _, e := range endpoints {
		for _, a := range e.addrs() {
			if a.Is4() != (family == discoveryv1.AddressTypeIPv4) {
				continue
			}
			endpoint := discoveryv1.Endpoint{
				Addresses: []string{a.String()}, NodeName: new(e.Node),
				Conditions: discoveryv1.EndpointConditions{
					Ready: new(e.Ready), Serving: new(e.Serving), Terminating: new(e.Terminating),
				},
			}
			if e.Zone != "" {
				endpoint.Zone = &e.Zone
			}
			slice.Endpoints = append(slice.Endpoints, endpoint)
		}
	}
	return slice
}

// Remove removes a Service and its EndpointSlices.
func (m *Manifests) Remove(s Service) error {
	for _, file := range []string{s.File(), s.slice(discoveryv1.AddressTypeIPv4) + ".yaml", s.slice(discoveryv1.AddressTypeIPv6) + ".yaml"} {
		if err := os.Remove(filepath.Join(m.Dir, file)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove manifest: %w", err)
		}
	}
	return nil
}

// Write replaces a file of the directory, whatever it says then.
func (m *Manifests) Write(file, content string) error {
	// Files whose name starts with a dot are not read.
	draft := filepath.Join(m.Dir, "."+file)
	err := os.WriteFile(draft, []byte(content), 0o644)
	if err == nil {
		err = os.Rename(draft, filepath.Join(m.Dir, file))
	}
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

func (m *Manifests) object(file string, object any) error {
	b, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("write manifest %s: %w", file, err)
	}
	return m.Write(file, string(b))
}

// File is the name of the file that Manifests.Service writes.
func (s Service) File() string { return "service-" + s.namespace() + "-" + s.Name + ".yaml" }

func (s Service) slice(family discoveryv1.AddressType) string {
	return "endpointslice-" + s.namespace() + "-" + s.Name + "-" + lower(family)
}

func (s Service) namespace() string { return cmp.Or(s.Namespace, "default") }

func (p Port) protocol() corev1.Protocol { return cmp.Or(p.Protocol, corev1.ProtocolTCP) }

func (p Port) target() int32 { return cmp.Or(p.Target, topo.Port) }

func lower(family discoveryv1.AddressType) string {
	if family == discoveryv1.AddressTypeIPv4 {
		return "ipv4"
	}
	return "ipv6"
}
