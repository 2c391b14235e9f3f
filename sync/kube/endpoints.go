package kube

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// addEndpoints gives each port the endpoints of the slices' ports of the same name and protocol. What a slice has for
// none of the ports is nobody's business here.
func addEndpoints(ports []sync.ServicePort, endpointSlices []*discoveryv1.EndpointSlice, w weights, o Options) []sync.Problem {
	if len(ports) == 0 {
		return nil
	}
	var problems []sync.Problem
	for _, slice := range endpointSlices {
		problems = append(problems, addSlice(ports, slice, w, o)...)
	}
	for i := range ports {
		ports[i].Endpoints = unique(ports[i].Endpoints)
	}
	return problems
}

func addSlice(ports []sync.ServicePort, slice *discoveryv1.EndpointSlice, w weights, o Options) []sync.Problem {
	if _, headless := slice.Labels[corev1.IsHeadlessService]; headless {
		return nil
	}
	switch slice.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	case discoveryv1.AddressTypeFQDN:
		return nil
	default:
		r := &report{object: sliceName(slice)}
		r.invalid("unknown addressType %q; its endpoints are not used, write IPv4 or IPv6", slice.AddressType)
		return r.problems
	}
	r := &report{object: sliceName(slice)}
	// The addresses are the same for every port: they are read, and reported, once and only if a port wants them.
	var endpoints []sync.Endpoint
	for _, p := range slice.Ports {
		number, wantedBy := match(ports, p, r)
		if len(wantedBy) > 0 && endpoints == nil {
			endpoints = readEndpoints(slice, w, o, r)
		}
		for _, port := range wantedBy {
			port.Endpoints = slices.Grow(port.Endpoints, len(endpoints))
			for _, e := range endpoints {
				e.Addr = netip.AddrPortFrom(e.Addr.Addr(), number)
				port.Endpoints = append(port.Endpoints, e)
			}
		}
	}
	return r.problems
}

func sliceName(slice *discoveryv1.EndpointSlice) string {
	return "EndpointSlice " + slice.Namespace + "/" + slice.Name
}

// match finds the Service ports that p is behind, and the port number to send to. A port without a number means all
// ports, which no balancer that rewrites the port can do: it is ignored, as upstream does.
func match(ports []sync.ServicePort, p discoveryv1.EndpointPort, r *report) (uint16, []*sync.ServicePort) {
	if p.Port == nil {
		return 0, nil
	}
	name, protocolName := "", string(corev1.ProtocolTCP)
	if p.Name != nil {
		name = *p.Name
	}
	if p.Protocol != nil {
		protocolName = string(*p.Protocol)
	}
	protocol, err := frontend.ParseProtocol(protocolName)
	var wantedBy []*sync.ServicePort
	for i := range ports {
		if ports[i].Name == name && (err != nil || ports[i].Protocol == protocol) {
			wantedBy = append(wantedBy, &ports[i])
		}
	}
	switch {
	case len(wantedBy) == 0:
		return 0, nil
	case err != nil:
		r.invalid("%s: %v; its endpoints are not used", endpointPortLabel(name), err)
		return 0, nil
	case !validPort(*p.Port):
		r.invalid("%s: number %d is outside 1-65535; its endpoints are not used", endpointPortLabel(name), *p.Port)
		return 0, nil
	}
	return uint16(*p.Port), wantedBy
}

// readEndpoints reads the slice's endpoints that can be used; their ports are still 0.
func readEndpoints(slice *discoveryv1.EndpointSlice, w weights, o Options, r *report) []sync.Endpoint {
	endpoints := make([]sync.Endpoint, 0, len(slice.Endpoints))
	faults := tally{}
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		// Only the first address counts: no consumer of the API ever gave a meaning to further ones.
		var text string
		if len(e.Addresses) > 0 {
			text = e.Addresses[0]
		}
		addr, fault := readAddress(text, slice.AddressType)
		if fault != "" {
			faults.add(fault, text)
			continue
		}
		endpoints = append(endpoints, endpoint(e, addr, slice.Namespace, w, o))
	}
	faults.reportTo(r)
	return endpoints
}

func endpoint(e *discoveryv1.Endpoint, addr netip.Addr, namespace string, w weights, o Options) sync.Endpoint {
	node := ""
	if e.NodeName != nil {
		node = *e.NodeName
	}
	result := sync.Endpoint{
		Addr:        netip.AddrPortFrom(addr, 0),
		Local:       node != "" && node == o.NodeName,
		Ready:       isTrue(e.Conditions.Ready, true),
		Serving:     isTrue(e.Conditions.Serving, true),
		Terminating: isTrue(e.Conditions.Terminating, false),
		Node:        node,
		Target:      target(e.TargetRef, namespace),
	}
	if len(w) > 0 {
		zone := ""
		if e.Zone != nil {
			zone = *e.Zone
		}
		result.Weight = w.of(zone, node, o.NodeLabels[node])
		result.Maintenance = result.Weight == 0
	}
	if h := e.Hints; h != nil {
		for _, n := range h.ForNodes {
			result.NodeHint = max(result.NodeHint, hint(n.Name, o.NodeName))
		}
		for _, z := range h.ForZones {
			result.ZoneHint = max(result.ZoneHint, hint(z.Name, o.Zone))
		}
	}
	return result
}

// hint is what one name in a list of hints says to this node.
func hint(name, own string) sync.Hint {
	if own != "" && name == own {
		return sync.Here
	}
	return sync.Elsewhere
}

func isTrue(condition *bool, unset bool) bool {
	if condition == nil {
		return unset
	}
	return *condition
}

func target(ref *corev1.ObjectReference, namespace string) string {
	if ref == nil || ref.Name == "" {
		return ""
	}
	return ref.Kind + " " + cmp.Or(ref.Namespace, namespace) + "/" + ref.Name
}

// readAddress reads an endpoint's address. The fault, "" if there is none, says why it cannot be used; the API server
// refuses all of these, manifests may have them.
func readAddress(text string, family discoveryv1.AddressType) (addr netip.Addr, fault string) {
	addr, err := netip.ParseAddr(text)
	switch {
	case text == "":
		return addr, "is missing"
	case err != nil:
		return addr, "is not an IP address"
	case addr.Is4In6():
		return addr, "is an IPv4-mapped IPv6 address: write it as IPv4, in a slice of addressType IPv4"
	case addr.Is4() != (family == discoveryv1.AddressTypeIPv4):
		return addr, fmt.Sprintf("does not fit addressType %s", family)
	case addr.IsUnspecified():
		return addr, "is the unspecified address"
	case addr.IsLoopback():
		return addr, "is a loopback address"
	case addr.IsLinkLocalUnicast():
		return addr, "is a link-local address"
	case addr.IsMulticast():
		return addr, "is a multicast address"
	case addr.Zone() != "":
		return addr, "has a zone"
	}
	return addr, ""
}

// unique sorts by address and keeps one of the endpoints with the same address and port. Two slices have it while it
// moves from one to the other, or a pod got the address of another that still terminates: the running one counts
// (kubernetes/kubernetes#135593). Then the local one, as upstream had it before, and the ready one; the rest of the order
// only makes the choice independent of the order of the slices.
func unique(endpoints []sync.Endpoint) []sync.Endpoint {
	slices.SortFunc(endpoints, func(a, b sync.Endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return cmp.Or(
			trueFirst(b.Terminating, a.Terminating),
			trueFirst(a.Local, b.Local),
			trueFirst(a.Ready, b.Ready),
			trueFirst(a.Serving, b.Serving),
			cmp.Compare(a.NodeHint, b.NodeHint),
			cmp.Compare(a.ZoneHint, b.ZoneHint),
			cmp.Compare(a.Node, b.Node),
			cmp.Compare(a.Target, b.Target),
			cmp.Compare(a.Weight, b.Weight))
	})
	return slices.CompactFunc(endpoints, func(a, b sync.Endpoint) bool { return a.Addr == b.Addr })
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// portLabel names a Service port for people: by its name if it has one, else by a number that it has.
func portLabel(p corev1.ServicePort) string {
	switch {
	case p.Name != "":
		return "port " + strconv.Quote(p.Name)
	case validPort(p.Port):
		return "port " + strconv.Itoa(int(p.Port))
	case validPort(p.NodePort):
		return "the port with node port " + strconv.Itoa(int(p.NodePort))
	}
	return withoutName
}

// endpointPortLabel names the port of an EndpointSlice for people.
func endpointPortLabel(name string) string {
	if name == "" {
		return withoutName
	}
	return "port " + strconv.Quote(name)
}

const withoutName = "the port without a name"
