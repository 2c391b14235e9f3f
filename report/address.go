package report

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// AddressExplanation says what answers on one address and port of the node, and why nothing else does.
type AddressExplanation struct {
	Node    string    `json:"node"`
	Time    time.Time `json:"time"`
	Address string    `json:"address"` // IP:PORT
	State   State     `json:"state"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Advice says what to do; empty if all is well.
	Advice string `json:"advice,omitempty"`
	// NodeAddress says whether the address serves.
	NodeAddress *Address `json:"nodeAddress,omitempty"`
	// Protocols are those for which there is something to say.
	Protocols []ExplainedAddress `json:"protocols"`
	// KernelUnknown says why the kernel was not looked at; empty if it was.
	KernelUnknown string `json:"kernelUnknown,omitempty"`
}

// ExplainedAddress is one protocol of the address and port.
type ExplainedAddress struct {
	Protocol string `json:"protocol"`
	State    State  `json:"state"`
	// Claimants are Services with the kind of their claim, the holder first.
	Claimants []string `json:"claimants,omitempty"`
	InKernel  bool     `json:"inKernel"`
	// Ours: the virtual server in the kernel is ours.
	Ours          bool   `json:"ours"`
	VirtualServer string `json:"virtualServer,omitempty"`
	Reason        string `json:"reason,omitempty"`
	// Service explains the holder, as far as this port is concerned.
	Service *Explanation `json:"service,omitempty"`
	// RealServers are those of a virtual server of which no Service is known.
	RealServers []ExplainedEndpoint `json:"realServers,omitempty"`
}

// KeysAt are the frontends of an address and port, one of each protocol.
func KeysAt(at netip.AddrPort) []frontend.Key {
	var keys []frontend.Key
	for _, p := range frontend.Protocols() {
		keys = append(keys, frontend.NewKey(at.Addr(), p, at.Port()))
	}
	return keys
}

// ExplainAddress explains an address and port. Protocols narrows it; none means all.
func ExplainAddress(node string, o *sync.Overview, at netip.AddrPort, k Kernel, protocols ...frontend.Protocol) AddressExplanation {
	e := AddressExplanation{Node: node, Time: o.Time, Address: at.String(), State: NotServed, Protocols: []ExplainedAddress{}}
	if k.Err != nil {
		e.KernelUnknown = k.Err.Error()
	}
	for _, a := range newAddresses(o, true) {
		if a.Address == at.Addr().String() {
			e.NodeAddress = &a
		}
	}
	for _, key := range KeysAt(at) {
		if len(protocols) > 0 && !slices.Contains(protocols, key.Protocol) {
			continue
		}
		if p, something := explainKey(node, o, key, k); something {
			e.Protocols = append(e.Protocols, p)
		}
	}
	if len(protocols) == 0 {
		protocols = frontend.Protocols()
	}
	e.conclude(o, at, protocols)
	return e
}

// explainKey explains one frontend; false if nobody claims it and the kernel has nothing there.
func explainKey(node string, o *sync.Overview, key frontend.Key, k Kernel) (ExplainedAddress, bool) {
	e := ExplainedAddress{Protocol: protocolText(key.Protocol), State: NotServed, Ours: o.Ours(key)}
	entry, there := k.Entries[key]
	e.InKernel = there
	if there {
		e.VirtualServer = virtualText(entry)
	}
	claimants := o.Claimants(key)
	for _, c := range claimants {
		e.Claimants = append(e.Claimants, fmt.Sprintf("Service %s (%s)", c.ID, c.Kind))
	}
	switch {
	case len(claimants) > 0:
		e.takeHolder(node, o, key, k, claimants[0])
	case there && e.Ours && o.KernelOnly:
		e.State, e.Reason = Served, "ours, and served by the kernel: no agent runs here to say for which Service"
		e.RealServers = kernelEndpoints(entry, k.Connections[key])
	case there && e.Ours:
		e.Reason = "ours, and no Service claims it any more: it goes when its connections have ended"
		e.RealServers = kernelEndpoints(entry, k.Connections[key])
	case there:
		e.Reason = "a virtual server that is not ours: kube-ipvs neither writes nor removes it"
		e.RealServers = kernelEndpoints(entry, k.Connections[key])
	}
	return e, there || len(claimants) > 0
}

// takeHolder takes over what is known of the port of the Service that holds the frontend.
func (e *ExplainedAddress) takeHolder(node string, o *sync.Overview, key frontend.Key, k Kernel, holder allocator.Claimant) {
	service, known := Explain(node, o, holder.ID, k)
	if !known {
		return
	}
	if holder.Kind == allocator.HealthCheck {
		e.State, e.Reason = service.HealthCheck.at(key.Addr.String())
		service.Ports = []ExplainedPort{}
		service.State, service.Summary = e.State, e.Reason
		e.Service = &service
		return
	}
	service.HealthCheck = nil
	service.Ports = slices.DeleteFunc(service.Ports, func(p ExplainedPort) bool {
		return p.NodePort != key.Port || p.Protocol != e.Protocol
	})
	for i := range service.Ports {
		p := &service.Ports[i]
		p.Frontends = slices.DeleteFunc(p.Frontends, func(f ExplainedFrontend) bool { return f.Address != key.Addr.String() })
		if len(p.Frontends) == 0 { // the Service is left out as a whole
			e.Reason = p.Reason
		}
		for _, f := range p.Frontends {
			e.State, e.Reason = frontendState(o, key, f, k), f.Reason
		}
		p.State, p.Reason = e.State, e.Reason
	}
	service.State = e.State
	service.Summary = service.summary()
	e.Service = &service
}

func frontendState(o *sync.Overview, key frontend.Key, f ExplainedFrontend, k Kernel) State {
	want, wanted := o.Want(key)
	switch {
	case !f.Served, !wanted, k.Err == nil && !f.InKernel:
		return NotServed
	case !want.Entry.Serves():
		return NoEndpoints
	case f.Reason != "" || f.Waiting != "":
		return Partly
	}
	return Served
}

// kernelEndpoints are the real servers of a virtual server of which nothing else is known.
func kernelEndpoints(entry ipvs.Entry, connections map[netip.AddrPort]ipvs.Connections) []ExplainedEndpoint {
	var list []ExplainedEndpoint
	for _, addr := range entry.RealKeys() {
		c := connections[addr]
		list = append(list, ExplainedEndpoint{
			Address: addr.String(), Use: "in the kernel", Virtuals: 1, Weight: entry.Reals[addr].Weight,
			Active: uint64(c.Active), Inactive: uint64(c.Inactive),
		})
	}
	return list
}

// conclude says in one sentence what answers, and what to do if that is nothing.
func (e *AddressExplanation) conclude(o *sync.Overview, at netip.AddrPort, protocols []frontend.Protocol) {
	others := o.ServicesOn(at.Port(), protocols...)
	for _, p := range e.Protocols {
		if p.Service != nil && (e.State == NotServed || p.State == Served) {
			e.State = p.State
			e.Summary = fmt.Sprintf("Service %s/%s, %s", p.Service.Namespace, p.Service.Name, p.Service.Summary)
		}
	}
	switch {
	case e.Summary != "":
		if e.State != Served {
			e.Advice = "kube-ipvs explain service says what becomes of the whole Service."
			if slices.ContainsFunc(e.Protocols, func(p ExplainedAddress) bool { return p.Service != nil && len(p.Service.Problems) > 0 }) {
				e.Advice = "Its problems are below, each with what to do. " + e.Advice
			}
		}
	case len(e.Protocols) > 0:
		e.State, e.Summary = e.Protocols[0].State, e.Protocols[0].Reason
		if !e.Protocols[0].Ours {
			e.Advice = "Find out who wrote it (kube-ipvs check looks for other proxies). If nobody needs it: ipvsadm -D, or run the agent with --adopt once."
		}
	case o.KernelOnly:
		e.Summary = "the kernel has no virtual server there, and no agent runs here to say why"
		e.Advice = "Start the agent (kube-ipvs run), or explain from --kubeconfig or --manifests with --node-name."
	case e.NodeAddress == nil:
		e.Summary = "the node has no such address"
		e.Advice = "kube-ipvs status lists the node's addresses. A moment after an address appears it is known."
	case !e.NodeAddress.Serves:
		e.Summary = "the address does not serve: " + e.NodeAddress.Reason
		e.Advice = "Choose it with --nodeport-addresses if it should."
	case len(others) > 0:
		e.Summary = fmt.Sprintf("Service %s has the port, and not on this address", others[0])
		e.Advice = "kube-ipvs explain service says why it is not served here."
	default:
		e.Summary = "no Service claims the port on this address" + forProtocols(protocols)
		e.Advice = "If one should: kubectl get services -A shows the node ports. The Service may be of another type, or labelled service.kubernetes.io/service-proxy-name."
	}
}

// forProtocols says which protocol was asked for, if not all were.
func forProtocols(protocols []frontend.Protocol) string {
	if len(protocols) == 1 {
		return " for " + protocolText(protocols[0])
	}
	return ""
}
