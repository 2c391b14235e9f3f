package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// extraPort is a port that a Service asks for beside its node ports.
type extraPort struct {
	port uint16
	// of names a port of the Service, by its name or its number.
	of string
}

func (e extraPort) String() string { return fmt.Sprintf("%d=%s", e.port, e.of) }

func readExtraPorts(value string, o Options, w *wanted) (string, error) {
	var list []extraPort
	for _, text := range parts(value) {
		number, of, ok := strings.Cut(text, "=")
		port, err := strconv.ParseUint(number, 10, 16)
		switch {
		case !ok || of == "" || err != nil || port == 0:
			return "", fmt.Errorf("%q: write PORT=NAME, a port from 1 to 65535 and the name or number of a port of the Service, for example 443=https", text)
		case slices.ContainsFunc(list, func(e extraPort) bool { return e.port == uint16(port) && e.of == of }):
			return "", fmt.Errorf("%q is there twice", text)
		}
		list = append(list, extraPort{uint16(port), of})
	}
	if o.ExtraPorts == nil {
		o.ExtraPorts = new(allocator.Ports)
	}
	var closed []string
	w.extraPorts = slices.DeleteFunc(list, func(e extraPort) bool {
		if o.ExtraPorts.Has(e.port) {
			return false
		}
		closed = append(closed, strconv.Itoa(int(e.port)))
		return true
	})
	texts := make([]string, len(w.extraPorts))
	for i, e := range w.extraPorts {
		texts[i] = e.String()
	}
	if len(closed) > 0 {
		return strings.Join(texts, ","), noteError(fmt.Sprintf("%s is not opened: this node's --extra-port-range is %s", strings.Join(closed, ", "), cmp.Or(o.ExtraPorts.String(), "empty")))
	}
	return strings.Join(texts, ","), nil
}

// extraPorts are the ports of svc that are open on nodes by annotation, still without endpoints. What is there already
// are its node ports and its health check, which come before them.
func extraPorts(svc *corev1.Service, w wanted, there sync.Service, r *report) []sync.ServicePort {
	var ports []sync.ServicePort
	if svc.Name == "" { // which is told with its node ports
		return nil
	}
	for _, extra := range w.extraPorts {
		found := false
		for _, p := range svc.Spec.Ports {
			if p.Name != extra.of && strconv.Itoa(int(p.Port)) != extra.of {
				continue
			}
			found = true
			port, err := readPort(p, extra.port)
			same := func(o sync.ServicePort) bool { return o.NodePort == port.NodePort && o.Protocol == port.Protocol }
			switch {
			case err != nil:
				r.invalid("annotation %s: %s: %s: %v; it is not opened", annotationExtraPorts, extra, portLabel(p), err)
			case slices.ContainsFunc(there.Ports, same), slices.ContainsFunc(ports, same):
				r.invalid("annotation %s: %s: another port of this Service has port %d/%s on nodes; only that one is served",
					annotationExtraPorts, extra, port.NodePort, port.Protocol)
			case port.NodePort == there.HealthCheckNodePort && port.Protocol == frontend.TCP:
				r.invalid("annotation %s: %s: the health check of this Service has port %d; it is not opened", annotationExtraPorts, extra, port.NodePort)
			default:
				port.Extra = true
				ports = append(ports, port)
			}
		}
		if !found {
			r.invalid("annotation %s: %s: the Service has no port of this name or number; it is not opened", annotationExtraPorts, extra)
		}
	}
	return ports
}

// asksExtra reports whether svc asks for ports beside its node ports.
func asksExtra(svc *corev1.Service) bool {
	_, asks := svc.Annotations[annotationExtraPorts]
	return asks
}
