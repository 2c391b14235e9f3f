package report

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Explanation is the whole chain from a Service to its connections on one node, with the reason for each link that is as it
// is: ports, networks, addresses, owners, endpoints, virtual servers.
type Explanation struct {
	Node      string    `json:"node"`
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	State     State     `json:"state"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Advice says what to do where no problem says it; empty if there is nothing to be done.
	Advice string `json:"advice,omitempty"`
	// Families are those of the Service, "IPv4 and IPv6".
	Families string `json:"families"`
	// Networks narrows the addresses; empty if the Service says nothing of them.
	Networks string `json:"networks,omitempty"`
	// Allow and Deny are networks of clients; both are empty if everybody may connect.
	Allow       []string           `json:"allow,omitempty"`
	Deny        []string           `json:"deny,omitempty"`
	Addresses   []Address          `json:"addresses"` // of the node; those that serve this Service first
	Ports       []ExplainedPort    `json:"ports"`
	HealthCheck *HealthCheck       `json:"healthCheck,omitempty"`
	Settings    []ExplainedSetting `json:"settings"`
	Problems    []Problem          `json:"problems"`
	// KernelUnknown says why the kernel was not looked at; empty if it was.
	KernelUnknown string `json:"kernelUnknown,omitempty"`
}

// ExplainedPort is one port of the Service.
type ExplainedPort struct {
	Port        string              `json:"port"` // name, or number inside the cluster
	ClusterPort uint16              `json:"clusterPort"`
	NodePort    uint16              `json:"nodePort"`
	Extra       bool                `json:"extra,omitempty"`
	Protocol    string              `json:"protocol"`
	Policy      string              `json:"externalTrafficPolicy"`
	Scheduler   string              `json:"scheduler"`
	State       State               `json:"state"`
	Reason      string              `json:"reason,omitempty"`
	Frontends   []ExplainedFrontend `json:"frontends"`
	Endpoints   []ExplainedEndpoint `json:"endpoints"`
}

// ExplainedFrontend is one address of the port.
type ExplainedFrontend struct {
	Address string `json:"address"`
	Served  bool   `json:"served"`
	// Reason says why it is not served, or for whom it is not.
	Reason string `json:"reason,omitempty"`
	Holder string `json:"holder"`
	// Rivals are Services that claim it too, the next holder first.
	Rivals     []string `json:"rivals,omitempty"`
	Masquerade string   `json:"masquerade"` // none, pods, remote or all
	// Internal: only this node and its pods may connect.
	Internal bool `json:"internal,omitempty"`
	// Wanted is the virtual server as it should be; empty if there should be none.
	Wanted string `json:"wanted,omitempty"`
	// InKernel: the virtual server is there. VirtualServer is its configuration as the kernel has it.
	InKernel      bool   `json:"inKernel"`
	VirtualServer string `json:"virtualServer,omitempty"`
	// Pending are the operations that would bring the kernel to what is wanted; none if it is as it should be.
	Pending []string `json:"pending,omitempty"`
	// Waiting is what the kernel refused, and Again when it is tried again.
	Waiting string     `json:"waiting,omitempty"`
	Again   *time.Time `json:"again,omitempty"`
}

// ExplainedEndpoint is one endpoint of the port.
type ExplainedEndpoint struct {
	Address     string `json:"address"` // IP:PORT
	Target      string `json:"target,omitempty"`
	Node        string `json:"node,omitempty"`
	Ready       bool   `json:"ready"`
	Serving     bool   `json:"serving"`
	Terminating bool   `json:"terminating"`
	// Use is "in use", "finishing", "draining" or "not used".
	Use    string `json:"use"`
	Reason string `json:"reason"`
	// Virtuals is how many virtual servers of the port have it, or should have it where the kernel was not looked at, and
	// Weight what it weighs there.
	Virtuals int    `json:"virtualServers"`
	Weight   uint32 `json:"weight"`
	Active   uint64 `json:"activeConnections"`
	Inactive uint64 `json:"inactiveConnections"`
	// Since is when it began to drain.
	Since *time.Time `json:"since,omitempty"`
}

// HealthCheck is what load balancers are answered on healthCheckNodePort.
type HealthCheck struct {
	Port      uint16              `json:"port"`
	Addresses []HealthCheckAnswer `json:"addresses"`
	Reason    string              `json:"reason,omitempty"` // why there are none
}

// HealthCheckAnswer is the answer on one address.
type HealthCheckAnswer struct {
	Address  string `json:"address"`
	Answered bool   `json:"answered"`
	Answer   string `json:"answer"`
}

// ExplainedSetting is a choice of the Service's author beyond what Kubernetes knows.
type ExplainedSetting struct {
	Name    string `json:"name"`
	Written string `json:"written"`
	InForce string `json:"inForce"`
	Reason  string `json:"reason,omitempty"`
}

// Kernel is what was read of a kernel's table for an explanation.
type Kernel struct {
	Entries     ipvs.Table
	Connections map[frontend.Key]map[netip.AddrPort]ipvs.Connections
	// Err is why it could not be read, or not all of it.
	Err error
}

// ReadKernel reads the virtual servers under keys.
func ReadKernel(ctx context.Context, handle ipvs.Handle, keys []frontend.Key) Kernel {
	k := Kernel{Entries: ipvs.Table{}, Connections: map[frontend.Key]map[netip.AddrPort]ipvs.Connections{}}
	for _, key := range keys {
		entry, connections, err := handle.Get(ctx, key)
		switch {
		case err == nil:
			k.Entries[key], k.Connections[key] = entry, connections
		case !ipvs.IsGone(err):
			k.Err = err
			return k
		}
	}
	return k
}

// KeysOf are the frontends that an explanation of a Service looks at.
func KeysOf(o *sync.Overview, id sync.ServiceID) []frontend.Key {
	var keys []frontend.Key
	views, _, _ := o.ViewService(id)
	for _, v := range views {
		for _, f := range v.Frontends {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

// Explain explains a Service; false if it opens no port on nodes and nothing is wrong with it, as far as is known here.
func Explain(node string, o *sync.Overview, id sync.ServiceID, k Kernel) (Explanation, bool) {
	views, check, known := o.ViewService(id)
	problems := newProblems(o.ProblemsOf(id))
	if !known && len(problems) == 0 {
		return Explanation{}, false
	}
	status := newServiceStatus(o, id)
	e := Explanation{
		Node: node, Time: o.Time, Namespace: id.Namespace, Name: id.Name, State: status.State,
		Families: familiesText(o.FamiliesOf(id)), Addresses: addressesFor(o, id), Ports: []ExplainedPort{},
		Settings: []ExplainedSetting{}, Problems: problems,
	}
	if networks := o.Networks(id); networks != nil {
		e.Networks = networks.String()
	}
	for _, p := range o.Sources(id).Allow() {
		e.Allow = append(e.Allow, p.String())
	}
	for _, p := range o.Sources(id).Deny() {
		e.Deny = append(e.Deny, p.String())
	}
	if k.Err != nil {
		e.KernelUnknown = k.Err.Error()
	}
	for i, v := range views {
		e.Ports = append(e.Ports, explainPort(o, id, v, status.Ports[i], k))
	}
	e.State = together(e.Ports)
	if check != nil {
		e.HealthCheck = newHealthCheck(*check)
	}
	for _, s := range o.SettingsOf(id) {
		e.Settings = append(e.Settings, ExplainedSetting{Name: s.Name, Written: s.Written, InForce: s.InForce, Reason: s.Why})
	}
	e.Summary = e.summary()
	e.Advice = e.advice()
	return e, true
}

// addressesFor are the node's addresses as one Service sees them.
func addressesFor(o *sync.Overview, id sync.ServiceID) []Address {
	var serving, others []Address
	for _, a := range newAddresses(o, false) {
		if a.Serves {
			if why := o.NotServedAt(id, netip.MustParseAddr(a.Address)); why != "" {
				a.Serves, a.Reason, a.Until = false, why, nil
			}
		}
		if a.Serves {
			serving = append(serving, a)
		} else {
			others = append(others, a)
		}
	}
	return append(append([]Address{}, serving...), others...)
}

// summary is one sentence for the whole Service.
func (e Explanation) summary() string {
	var served, asked int
	var reasons []string
	for _, p := range e.Ports {
		for _, f := range p.Frontends {
			asked++
			if f.Served && (f.InKernel || e.KernelUnknown != "") {
				served++
			}
		}
		if p.Reason != "" {
			reasons = append(reasons, p.Reason)
		}
	}
	why := ""
	if len(reasons) > 0 {
		why = ": " + reasons[0]
	}
	switch e.State {
	case Served:
		return fmt.Sprintf("served by %s", plural(served, "virtual server"))
	case NoEndpoints:
		return "served, but clients are refused" + why
	case Partly:
		if served == asked {
			return "served in part" + why
		}
		return fmt.Sprintf("served in part (%d of %s)%s", served, plural(asked, "virtual server"), why)
	}
	return "not served" + why
}

// advice is about a Service without a problem that clients cannot reach all the same.
func (e Explanation) advice() string {
	local := slices.ContainsFunc(e.Ports, func(p ExplainedPort) bool {
		return p.Policy == sync.Local.String() && slices.ContainsFunc(p.Frontends, func(f ExplainedFrontend) bool { return f.Internal })
	})
	switch {
	case len(e.Problems) > 0 || e.State == Served:
		return ""
	case local:
		return "Ask a node that has a ready Pod of the Service, as a load balancer does by the health check port; or choose externalTrafficPolicy: Cluster."
	case slices.ContainsFunc(e.Ports, func(p ExplainedPort) bool { return p.State == NoEndpoints }):
		return fmt.Sprintf("Look at its Pods: kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s shows which are ready.", e.Namespace, e.Name)
	case e.State == NotServed && e.Networks != "":
		return "Let its annotation kube-ipvs.io/networks select an address that serves on this node, if it should be served here."
	}
	return ""
}

// familiesText are the address families of a Service.
func familiesText(f sync.Families) string {
	if f == 0 {
		return "none: the Service is closed, see its problems"
	}
	return f.String()
}
