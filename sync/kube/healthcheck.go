package kube

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// asksHealth reports whether the Service's load balancer asks each node for endpoints, by the rule of the API server and
// of kube-proxy (kubernetes pkg/api/v1/service, NeedsHealthCheck).
func asksHealth(svc *corev1.Service) bool {
	return svc.Spec.HealthCheckNodePort != 0 && svc.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// healthCheck reads the port on which svc is asked for, given its node ports; 0 if it is not. The API server lets
// nothing of what is reported here pass but a protected port within its own range, manifests may have all of it.
func healthCheck(svc *corev1.Service, ports []sync.ServicePort, o Options, r *report) uint16 {
	n := svc.Spec.HealthCheckNodePort
	switch {
	case n == 0 || svc.Name == "":
		return 0
	case !asksHealth(svc):
		r.invalid("healthCheckNodePort %d has no effect: it is for type LoadBalancer with externalTrafficPolicy Local", n)
		return 0
	case !validPort(n):
		r.skipped("healthCheckNodePort %d is outside 1-65535; it is not answered", n)
		return 0
	}
	port := uint16(n)
	switch {
	case o.protects(port):
		r.skipped("healthCheckNodePort %d is not answered: %s", n, protectedPort)
		return 0
	case slices.ContainsFunc(ports, func(p sync.ServicePort) bool { return p.NodePort == port && p.Protocol == frontend.TCP }):
		r.skipped("healthCheckNodePort %d is also a node port of this Service; it is not answered, give it a port of its own", n)
		return 0
	}
	return port
}

// localReady are the addresses of the ready endpoints on this node, but for those in maintenance. As with kube-proxy all ports of the slices count,
// also those that no port of the Service is for, and of duplicates the same one as for traffic. What is wrong with an
// address is reported where it is used.
func localReady(endpointSlices []*discoveryv1.EndpointSlice, w weights, o Options) []netip.Addr {
	var all []sync.Endpoint
	for _, slice := range endpointSlices {
		if !hasPorts(slice) {
			continue
		}
		endpoints := readEndpoints(slice, w, o, &report{})
		for _, p := range slice.Ports {
			if p.Port == nil || !validPort(*p.Port) {
				continue
			}
			for _, e := range endpoints {
				e.Addr = netip.AddrPortFrom(e.Addr.Addr(), uint16(*p.Port))
				all = append(all, e)
			}
		}
	}
	var ready []netip.Addr
	for _, e := range unique(all) {
		if e.Local && e.Ready && !e.Maintenance {
			ready = append(ready, e.Addr.Addr())
		}
	}
	return slices.Compact(ready)
}

// hasPorts reports whether the endpoints of a slice can be sent to.
func hasPorts(slice *discoveryv1.EndpointSlice) bool {
	if _, headless := slice.Labels[corev1.IsHeadlessService]; headless {
		return false
	}
	if slice.AddressType != discoveryv1.AddressTypeIPv4 && slice.AddressType != discoveryv1.AddressTypeIPv6 {
		return false
	}
	return slices.ContainsFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool { return p.Port != nil && validPort(*p.Port) })
}
