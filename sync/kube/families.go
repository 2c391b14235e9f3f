package kube

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// families are the address families that a Service is for: its spec.ipFamilies, which the API server always fills in.
// Manifests may lack it; then the families of its cluster IPs count, then those of its EndpointSlices, and a Service
// that has none of these is for both. What is no family is reported and counts as absent.
func families(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, r *report) sync.Families {
	var f sync.Families
	for _, family := range svc.Spec.IPFamilies {
		switch family {
		case corev1.IPv4Protocol:
			f |= sync.IPv4
		case corev1.IPv6Protocol:
			f |= sync.IPv6
		default:
			r.invalid("unknown family %q in ipFamilies does not count; write IPv4 or IPv6", family)
		}
	}
	if f != 0 {
		return f
	}
	for _, text := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
		if addr, err := netip.ParseAddr(text); err == nil {
			f |= familyOf(addr)
		}
	}
	if f != 0 {
		return f
	}
	for _, slice := range endpointSlices {
		if _, headless := slice.Labels[corev1.IsHeadlessService]; headless {
			continue
		}
		switch slice.AddressType {
		case discoveryv1.AddressTypeIPv4:
			f |= sync.IPv4
		case discoveryv1.AddressTypeIPv6:
			f |= sync.IPv6
		}
	}
	if f != 0 {
		return f
	}
	return sync.IPv4 | sync.IPv6
}

func familyOf(addr netip.Addr) sync.Families {
	if addr.Is4() {
		return sync.IPv4
	}
	return sync.IPv6
}
