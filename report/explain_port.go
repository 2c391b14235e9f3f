package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func explainPort(o *sync.Overview, id sync.ServiceID, v sync.PortView, status PortStatus, k Kernel) ExplainedPort {
	p := ExplainedPort{
		Port: status.Port, ClusterPort: v.Port, NodePort: v.NodePort, Extra: v.Extra, Protocol: status.Protocol, Policy: status.Policy,
		Scheduler: v.Scheduler, State: status.State, Reason: status.Reason, Frontends: []ExplainedFrontend{}, Endpoints: []ExplainedEndpoint{},
	}
	for _, f := range v.Frontends {
		p.Frontends = append(p.Frontends, explainFrontend(o, id, f, k))
	}
	p.lookAtKernel(k)
	for _, view := range v.Endpoints {
		e := explainEndpoint(o, v, view, k)
		if status.State == NotServed && view.Use != sync.NotUsed {
			e.Use, e.Reason = sync.NotUsed.String(), e.Reason+"; the port is not served here"
		}
		p.Endpoints = append(p.Endpoints, e)
	}
	p.Endpoints = append(p.Endpoints, departed(o, v, k)...)
	return p
}

// lookAtKernel takes back what is said to be served where the kernel has nothing.
func (p *ExplainedPort) lookAtKernel(k Kernel) {
	if k.Err != nil {
		return
	}
	served, missing := 0, 0
	for i := range p.Frontends {
		f := &p.Frontends[i]
		if !f.Served {
			continue
		}
		served++
		if !f.InKernel {
			missing++
			f.Reason = strings.TrimPrefix(f.Reason+"; the kernel does not have it yet", "; ")
		}
	}
	switch missing {
	case 0:
		return
	case served:
		p.State = NotServed
	default:
		p.State = Partly
	}
	p.Reason = strings.TrimPrefix(p.Reason+"; the kernel does not have all of it yet", "; ")
}

func explainFrontend(o *sync.Overview, id sync.ServiceID, v sync.FrontendView, k Kernel) ExplainedFrontend {
	f := ExplainedFrontend{
		Address: v.Key.Addr.String(), Served: v.Served, Holder: v.Holder.String(), Masquerade: v.Masquerade.String(), Internal: v.Internal,
		Reason: cmp.Or(v.NoClients, v.Why),
	}
	if !v.Served {
		f.Reason = strings.TrimPrefix(notServedBecause(v), f.Address+": ")
	}
	for _, r := range v.Rivals {
		if r.Service != id {
			f.Rivals = append(f.Rivals, r.Service.String())
		}
	}
	if want, wanted := o.Want(v.Key); wanted && v.Served {
		f.Wanted = virtualText(want.Entry)
	}
	if k.Err != nil {
		return f
	}
	entry, there := k.Entries[v.Key]
	f.InKernel = there
	if there {
		f.VirtualServer = virtualText(entry)
	}
	if o.Ours(v.Key) {
		for _, op := range ipvs.Diff(o.Next(k.Entries, []frontend.Key{v.Key})) {
			f.Pending = append(f.Pending, withoutKey(op))
		}
	}
	if again, err := o.Stuck(v.Key); err != nil {
		f.Waiting, f.Again = err.Error(), instant(again)
	}
	return f
}

func explainEndpoint(o *sync.Overview, v sync.PortView, view sync.EndpointView, k Kernel) ExplainedEndpoint {
	e := ExplainedEndpoint{
		Address: view.Addr.String(), Target: view.Target, Node: view.Node, Ready: view.Ready, Serving: view.Serving, Terminating: view.Terminating,
		Use: view.Use.String(), Reason: view.Why,
	}
	e.count(v, view.Addr, k)
	for _, f := range v.Frontends {
		since, leaves := o.Departing(f.Key)[view.Addr]
		if leaves && view.Use == sync.NotUsed && e.Since == nil {
			e.Use, e.Since = "draining", instant(since)
			e.Reason += "; it keeps its connections until they end"
		}
	}
	return e
}

// count adds up what the kernel has of an endpoint.
func (e *ExplainedEndpoint) count(v sync.PortView, addr netip.AddrPort, k Kernel) {
	for _, f := range v.Frontends {
		real, there := k.Entries[f.Key].Reals[addr]
		if k.Err != nil {
			real, there = wantedReal(f, addr)
		}
		if !there || !f.Served {
			continue
		}
		e.Virtuals++
		e.Weight = max(e.Weight, real.Weight)
		c := k.Connections[f.Key][addr]
		e.Active += uint64(c.Active)
		e.Inactive += uint64(c.Inactive)
	}
}

// wantedReal is an endpoint as it should be in the kernel.
func wantedReal(f sync.FrontendView, addr netip.AddrPort) (real ipvs.RealServer, wanted bool) {
	i := slices.IndexFunc(f.Reals, func(r sync.RealView) bool { return r.Addr == addr })
	if i < 0 {
		return real, false
	}
	return ipvs.RealServer{Weight: f.Reals[i].Weight}, true
}

// departed are the real servers of a port that no EndpointSlice has any more.
func departed(o *sync.Overview, v sync.PortView, k Kernel) []ExplainedEndpoint {
	known := map[netip.AddrPort]bool{}
	for _, e := range v.Endpoints {
		known[e.Addr] = true
	}
	var gone []ExplainedEndpoint
	for _, f := range v.Frontends {
		for _, addr := range k.Entries[f.Key].RealKeys() {
			if known[addr] || !f.Served {
				continue
			}
			known[addr] = true
			e := ExplainedEndpoint{Address: addr.String(), Use: "draining", Reason: "no EndpointSlice has it any more: it keeps its connections until they end, or its drain timeout is over"}
			if since, leaves := o.Departing(f.Key)[addr]; leaves {
				e.Since = instant(since)
			} else if k.Entries[f.Key].Reals[addr].Weight > 0 {
				e.Use, e.Reason = "not used", "no EndpointSlice has it: the next pass gives it no new connection, and lets those that it has end"
			}
			e.count(v, addr, k)
			gone = append(gone, e)
		}
	}
	slices.SortFunc(gone, func(a, b ExplainedEndpoint) int { return cmp.Compare(a.Address, b.Address) })
	return gone
}

func newHealthCheck(v sync.CheckView) *HealthCheck {
	c := &HealthCheck{Port: v.Port, Addresses: []HealthCheckAnswer{}, Reason: v.NotAnswered}
	for _, a := range v.Addresses {
		c.Addresses = append(c.Addresses, HealthCheckAnswer{Address: a.Addr.String(), Answered: a.Answered, Answer: checkAnswer(a)})
	}
	return c
}

// at says what becomes of a question on an address: served, or no endpoints, if it is answered with 200 or 503.
func (h *HealthCheck) at(address string) (State, string) {
	if h == nil {
		return NotServed, "the port of a health check"
	}
	i := slices.IndexFunc(h.Addresses, func(a HealthCheckAnswer) bool { return a.Address == address })
	if i < 0 {
		return NotServed, "the port of its health check, not answered here"
	}
	answer := h.Addresses[i]
	text := "its health check answers " + answer.Answer
	switch {
	case !answer.Answered:
		return NotServed, "the port of its health check, answered by nobody: " + strings.TrimPrefix(answer.Answer, "none: ")
	case strings.HasPrefix(answer.Answer, "200"):
		return Served, text
	}
	return NoEndpoints, text
}

// checkAnswer is what a load balancer hears on an address.
func checkAnswer(a sync.CheckAddressView) string {
	switch {
	case a.Silent != "":
		return "none: " + a.Silent
	case !a.Answered:
		return "none: Service " + a.Holder.String() + " holds the port"
	case a.LocalEndpoints == 0:
		return "503: no ready endpoint on this node"
	case a.LocalEndpoints == 1:
		return "200: 1 ready endpoint on this node"
	}
	return fmt.Sprintf("200: %d ready endpoints on this node", a.LocalEndpoints)
}
