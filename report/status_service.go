package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

func newServiceStatus(o *sync.Overview, id sync.ServiceID) ServiceStatus {
	svc := ServiceStatus{Namespace: id.Namespace, Name: id.Name, State: NotServed, Ports: []PortStatus{}, Problems: len(o.ProblemsOf(id))}
	views, _, _ := o.ViewService(id)
	for _, v := range views {
		svc.Ports = append(svc.Ports, newPortStatus(o, v))
	}
	svc.State = together(svc.Ports)
	return svc
}

// together is the state of a Service with these ports: what all of them are, or else that it is served in part.
func together[P interface{ state() State }](ports []P) State {
	if len(ports) == 0 {
		return NotServed
	}
	state := ports[0].state()
	if slices.ContainsFunc(ports, func(p P) bool { return p.state() != state }) {
		return Partly
	}
	return state
}

func (p PortStatus) state() State { return p.State }

func (p ExplainedPort) state() State { return p.State }

func newPortStatus(o *sync.Overview, v sync.PortView) PortStatus {
	p := PortStatus{
		Port: portName(v.Name, v.Port), NodePort: v.NodePort, Extra: v.Extra, Protocol: protocolText(v.Protocol),
		Policy: v.Policy.String(), Scheduler: v.Scheduler, Addresses: []string{}, State: NotServed, Reason: v.NotServed,
	}
	for _, e := range v.Endpoints {
		if e.Use == sync.GetsConnections {
			p.Endpoints++
		} else {
			p.Others++
		}
	}
	var reasons []string
	refused := 0
	draining := map[string]bool{}
	for _, f := range v.Frontends {
		if !f.Served {
			reasons = append(reasons, notServedBecause(f))
			continue
		}
		p.Addresses = append(p.Addresses, f.Key.Addr.String())
		if len(f.Reals) == 0 {
			refused++
		}
		if f.Why != "" || f.NoClients != "" {
			reasons = append(reasons, cmp.Or(f.NoClients, f.Why))
		}
		for addr := range o.Departing(f.Key) {
			draining[addr.String()] = true
		}
		if _, err := o.Stuck(f.Key); err != nil {
			reasons = append(reasons, "the kernel does not take all of it")
		}
	}
	p.Draining = len(draining)
	switch {
	case len(p.Addresses) == 0:
		p.Endpoints, p.Others = 0, p.Endpoints+p.Others
	case refused == len(p.Addresses):
		p.State = NoEndpoints
	case len(reasons) > 0:
		p.State = Partly
	default:
		p.State = Served
	}
	if p.Reason == "" {
		slices.Sort(reasons)
		p.Reason = strings.Join(slices.Compact(reasons), "; ")
	}
	return p
}

func notServedBecause(f sync.FrontendView) string {
	if f.Obstacle != "" {
		return f.Key.Addr.String() + ": " + f.Obstacle
	}
	return f.Key.Addr.String() + ": Service " + f.Holder.String() + " holds the port"
}

// portName is what people call a port of a Service.
func portName(name string, port uint16) string { return cmp.Or(name, strconv.Itoa(int(port))) }
