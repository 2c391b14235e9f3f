package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

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
	texts, err := parts(value)
	if err != nil {
		return "", err
	}
	var list []extraPort
	for _, text := range texts {
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
	w.extraPorts = slices.DeleteFunc(slices.Clone(list), func(e extraPort) bool { return o.refusesExtra(e.port) != "" })
	var notes []string
	for _, why := range []string{notAllowed, protectedPort} {
		var ports []string
		for _, e := range list {
			if o.refusesExtra(e.port) == why {
				ports = append(ports, strconv.Itoa(int(e.port)))
			}
		}
		switch {
		case len(ports) == 0:
		case why == notAllowed:
			notes = append(notes, fmt.Sprintf("%s is not opened: this node's --extra-port-range is %s", strings.Join(ports, ", "), o.extraPortsText()))
		default:
			notes = append(notes, fmt.Sprintf("%s is not opened: %s", strings.Join(ports, ", "), why))
		}
	}
	if len(notes) > 0 {
		return extraPortsText(w.extraPorts), noteError(strings.Join(notes, "; "))
	}
	return extraPortsText(w.extraPorts), nil
}

// Why a node does not open a port.
const (
	notAllowed    = "not allowed"
	protectedPort = "the ports of SSH, etcd, the control plane, the kubelet, kube-proxy and this agent are protected, choose another one"
)

// refusesExtra says why a port is never an extra port on this node; "" if it may be one.
func (o Options) refusesExtra(port uint16) string {
	switch {
	case o.ExtraPorts == nil || !o.ExtraPorts.Has(port):
		return notAllowed
	case o.protects(port):
		return protectedPort
	}
	return ""
}

// protects reports whether a port is never opened for a Service on this node.
func (o Options) protects(port uint16) bool { return o.Protected != nil && o.Protected.Has(port) }

func (o Options) extraPortsText() string {
	if o.ExtraPorts == nil {
		return "empty"
	}
	return cmp.Or(o.ExtraPorts.String(), "empty")
}

func extraPortsText(list []extraPort) string {
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = e.String()
	}
	return strings.Join(texts, ",")
}

// extraPorts are the ports of svc that are open on nodes by annotation, still without endpoints. What is there already
// are its node ports and its health check, which come before them.
func extraPorts(svc *corev1.Service, w *wanted, there sync.Service, r *report) []sync.ServicePort {
	if svc.Name == "" { // which is told with its node ports
		return nil
	}
	var ports []sync.ServicePort
	var opened []extraPort
	var refused []string
	for _, extra := range w.extraPorts {
		refuse := func(format string, args ...any) {
			why := fmt.Sprintf("%s: %s", extra, fmt.Sprintf(format, args...))
			r.invalid("annotation %s: %s", annotationExtraPorts, why)
			refused = append(refused, why)
		}
		found, before := false, len(ports)
		for _, p := range svc.Spec.Ports {
			if p.Name != extra.of && strconv.Itoa(int(p.Port)) != extra.of {
				continue
			}
			found = true
			port, err := readPort(p, extra.port)
			same := func(o sync.ServicePort) bool { return o.NodePort == port.NodePort && o.Protocol == port.Protocol }
			switch {
			case err != nil:
				refuse("%s: %v; it is not opened", portLabel(p), err)
			case slices.ContainsFunc(there.Ports, same), slices.ContainsFunc(ports, same):
				refuse("another port of this Service has port %d/%s on nodes; only that one is served", port.NodePort, port.Protocol)
			case port.NodePort == there.HealthCheckNodePort && port.Protocol == frontend.TCP:
				refuse("the health check of this Service has port %d; it is not opened", port.NodePort)
			default:
				port.Extra = true
				ports = append(ports, port)
			}
		}
		if !found {
			refuse("the Service has no port of this name or number; it is not opened")
		}
		if len(ports) > before {
			opened = append(opened, extra)
		}
	}
	w.inForce(annotationExtraPorts, extraPortsText(opened), refused)
	return ports
}

// asksExtra reports whether svc asks for ports beside its node ports.
func asksExtra(svc *corev1.Service) bool {
	_, asks := svc.Annotations[annotationExtraPorts]
	return asks
}
