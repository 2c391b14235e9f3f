package kube

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// labelServiceProxyName gives a Service to the proxy of that name and takes it away from every other (KEP-2447).
const labelServiceProxyName = "service.kubernetes.io/service-proxy-name"

// Options are what the meaning of a Service depends on besides the Service.
type Options struct {
	// NodeName is the Node that the agent runs on: its endpoints are the local ones.
	NodeName string
	// Zone is the node's zone (label topology.kubernetes.io/zone), "" if it is in none. State fills it in.
	Zone string
	// NodeNeeded: addresses are chosen by the Node object, so a Node that cannot be found is a problem.
	NodeNeeded bool
	// ServiceProxyName selects the Services labelled service.kubernetes.io/service-proxy-name with this value.
	// "" selects those without the label.
	ServiceProxyName string
	// AllowedSchedulers are the scheduler names that a Service may choose; none of them means that no Service may.
	AllowedSchedulers []string
	// Networks are the names that Services may choose addresses by.
	Networks nodeaddr.Networks
	// ExtraPorts are the ports that Services may open beside their node ports; nil is none.
	ExtraPorts *allocator.Ports
	// Protected are never opened for a Service, as node port, health check or extra port; nil is none.
	Protected *allocator.Ports
	// SpecSourceRanges: spec.loadBalancerSourceRanges counts for node ports too.
	SpecSourceRanges bool
	// NodeLabels are the labels of nodes by their name, as far as weights need them. State fills it in.
	NodeLabels map[string]map[string]string
}

// Translate says what svc asks of the node, given the EndpointSlices that belong to it (State keeps them by their label
// kubernetes.io/service-name). The result does not depend on the order of endpointSlices nor on how the endpoints are
// divided among them. A Service that asks nothing of nodes, or that another proxy serves, is Empty.
func Translate(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, o Options) sync.Service {
	result := sync.Service{
		ID:      serviceID(svc),
		UID:     string(svc.UID),
		Created: svc.CreationTimestamp.Time,
	}
	if !concerns(svc, o) {
		return result
	}
	r := &report{object: "Service " + result.ID.String()}
	w := readAnnotations(svc, o, r)
	if typeOpensNodePorts(svc, r) && !w.closed {
		result.Families = families(svc, endpointSlices, r)
		result.Networks, result.Sources = w.networks, filter.NewSources(w.allow, w.deny)
		result.Ports = nodePorts(svc, o, r)
		if result.HealthCheckNodePort = healthCheck(svc, result.Ports, o, r); result.HealthCheckNodePort != 0 {
			result.LocalReady = localReady(endpointSlices, w.weights, o)
		}
		result.Ports = w.equip(append(result.Ports, extraPorts(svc, &w, result, r)...), svc, r)
		sliceProblems := addEndpoints(result.Ports, endpointSlices, w.weights, o)
		r.problems = append(r.problems, sliceProblems...)
	}
	result.Unserved = unserved(svc, result)
	sortProblems(r.problems)
	result.Settings, result.Problems = w.settings, r.problems
	return result
}

// unserved are the ports of svc on nodes that are not among those to be served.
func unserved(svc *corev1.Service, result sync.Service) []uint16 {
	var ports []uint16
	numbers := []int32{svc.Spec.HealthCheckNodePort}
	for _, p := range svc.Spec.Ports {
		numbers = append(numbers, p.NodePort)
	}
	for _, n := range numbers {
		served := func(p sync.ServicePort) bool { return int32(p.NodePort) == n }
		if validPort(n) && n != int32(result.HealthCheckNodePort) && !slices.ContainsFunc(result.Ports, served) && !slices.Contains(ports, uint16(n)) {
			ports = append(ports, uint16(n))
		}
	}
	return ports
}

func serviceID(svc *corev1.Service) sync.ServiceID {
	return sync.ServiceID{Namespace: svc.Namespace, Name: svc.Name}
}

// concerns reports whether svc asks for node ports or a health check, rightly or not, and asks us.
func concerns(svc *corev1.Service, o Options) bool {
	name, labelled := svc.Labels[labelServiceProxyName]
	if labelled != (o.ServiceProxyName != "") || name != o.ServiceProxyName {
		return false
	}
	switch svc.Spec.Type {
	case "", corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName:
		return false
	}
	opens := func(p corev1.ServicePort) bool { return hasNodePort(p) || needsNodePort(svc) }
	return svc.Spec.ClusterIP != corev1.ClusterIPNone && (slices.ContainsFunc(svc.Spec.Ports, opens) || asksHealth(svc) || asksExtra(svc))
}

// hasNodePort is false for a port of a LoadBalancer with allocateLoadBalancerNodePorts: false, and for one of a manifest
// that was written for an API server.
func hasNodePort(p corev1.ServicePort) bool { return p.NodePort != 0 }

// needsNodePort: every port of svc is meant to have a node port.
func needsNodePort(svc *corev1.Service) bool { return svc.Spec.Type == corev1.ServiceTypeNodePort }

// typeOpensNodePorts is false for a type that only a manifest can have: the API server refuses it.
func typeOpensNodePorts(svc *corev1.Service, r *report) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	}
	r.skipped("unknown type %q opens no node port; NodePort and LoadBalancer do", svc.Spec.Type)
	return false
}

// nodePorts are the ports of svc that are open on nodes, still without endpoints.
func nodePorts(svc *corev1.Service, o Options, r *report) []sync.ServicePort {
	if svc.Name == "" {
		r.skipped("the Service has no name; give it one in metadata.name")
		return nil
	}
	type opened struct {
		nodePort uint16
		protocol frontend.Protocol
	}
	type named struct {
		name     string
		protocol frontend.Protocol
	}
	var (
		ports  []sync.ServicePort
		open   = map[opened]bool{}
		byName = map[named]bool{}
	)
	for _, p := range svc.Spec.Ports {
		if needsNodePort(svc) && !hasNodePort(p) {
			r.skipped("%s has no nodePort: the API server allocates one, a manifest must name it", portLabel(p))
		}
		port, ok := nodePort(p, o, r)
		if !ok {
			continue
		}
		switch o, n := (opened{port.NodePort, port.Protocol}), (named{port.Name, port.Protocol}); {
		case open[o]:
			r.skipped("%s: another port of this Service has node port %d/%s; only the first is served",
				portLabel(p), port.NodePort, port.Protocol)
			continue
		case byName[n]:
			r.skipped("%s: another port of this Service has the same name, and endpoints are found by the name; "+
				"only the first is served, give each port its own name", portLabel(p))
			continue
		default:
			open[o], byName[n] = true, true
		}
		if port.Name == "" && len(svc.Spec.Ports) > 1 {
			r.invalid("%s has no name beside other ports; it is served by endpoint ports without a name, name it", portLabel(p))
		}
		ports = append(ports, port)
	}
	return ports
}

// equip gives ports what holds for all ports of a Service.
func (w *wanted) equip(ports []sync.ServicePort, svc *corev1.Service, r *report) []sync.ServicePort {
	policy, sticky := trafficPolicy(svc, r), affinity(svc, *w, r)
	for i := range ports {
		port := &ports[i]
		port.Policy, port.Affinity = policy, sticky
		port.Scheduler, port.SchedulerFlags = w.scheduler, w.flags
		port.Limits, port.SlowStart, port.OnePacket, port.DrainTimeout = w.limits, w.slowStart, w.onePacket, w.drain
	}
	return ports
}

// nodePort reads one port; false if it has no node port, or none that can be served.
func nodePort(p corev1.ServicePort, o Options, r *report) (sync.ServicePort, bool) {
	if !hasNodePort(p) {
		return sync.ServicePort{}, false
	}
	if !validPort(p.NodePort) {
		r.skipped("%s: node port %d is outside 1-65535; it is not served", portLabel(p), p.NodePort)
		return sync.ServicePort{}, false
	}
	if o.protects(uint16(p.NodePort)) {
		r.skipped("%s: node port %d is not served: %s", portLabel(p), p.NodePort, protectedPort)
		return sync.ServicePort{}, false
	}
	port, err := readPort(p, uint16(p.NodePort))
	if err != nil {
		r.skipped("%s: %v; node port %d is not served", portLabel(p), err, p.NodePort)
		return sync.ServicePort{}, false
	}
	if !validPort(p.Port) {
		r.invalid("Service port %d is outside 1-65535; its node port %d is served nevertheless", p.Port, p.NodePort)
	}
	return port, true
}

// readPort is a port of a Service as it is open on nodes under a number.
func readPort(p corev1.ServicePort, number uint16) (sync.ServicePort, error) {
	protocol, err := frontend.ParseProtocol(cmp.Or(string(p.Protocol), string(corev1.ProtocolTCP)))
	if err != nil {
		return sync.ServicePort{}, err
	}
	port := sync.ServicePort{Name: p.Name, NodePort: number, Protocol: protocol}
	if validPort(p.Port) {
		port.Port = uint16(p.Port)
	}
	return port, nil
}

func validPort(n int32) bool { return n >= 1 && n <= 65535 }

func trafficPolicy(svc *corev1.Service, r *report) sync.TrafficPolicy {
	switch p := svc.Spec.ExternalTrafficPolicy; p {
	case "", corev1.ServiceExternalTrafficPolicyCluster:
		return sync.Cluster
	case corev1.ServiceExternalTrafficPolicyLocal:
		return sync.Local
	default:
		r.invalid("unknown externalTrafficPolicy %q counts as Cluster; write Cluster or Local", p)
		return sync.Cluster
	}
}

// defaultAffinity is the timeout where the Service names none, and maxAffinity the longest that the API server takes
// (kubernetes pkg/apis/core, DefaultClientIPServiceAffinitySeconds, MaxClientIPServiceAffinitySeconds).
const (
	defaultAffinity = 3 * time.Hour
	maxAffinity     = 24 * time.Hour
)

func affinity(svc *corev1.Service, w wanted, r *report) sync.Affinity {
	switch a := svc.Spec.SessionAffinity; a {
	case "", corev1.ServiceAffinityNone:
		return sync.Affinity{}
	case corev1.ServiceAffinityClientIP:
	default:
		r.invalid("unknown sessionAffinity %q counts as None; write None or ClientIP", a)
		return sync.Affinity{}
	}
	timeout := defaultAffinity
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		timeout = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	if timeout <= 0 || timeout > maxAffinity {
		r.invalid("sessionAffinityConfig: a timeout of %s is not between 1 and 86400 seconds; %s is used", timeout, defaultAffinity)
		timeout = defaultAffinity
	}
	return sync.Affinity{Timeout: timeout, Prefix4: w.prefix4, Prefix6: w.prefix6}
}
