package report

import (
	"net/netip"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Plan is what one node would serve, and why not more. What only its tables say has no field in JSON.
type Plan struct {
	Node         string        `json:"node"`
	Addresses    []PlanAddress `json:"addresses"` // that serve
	NotServing   []PlanAddress `json:"notServing"`
	ServicePorts []PlanPort    `json:"servicePorts"`
	HealthChecks []PlanCheck   `json:"healthChecks"`
	Settings     []PlanSetting `json:"settings"`
	Problems     []PlanProblem `json:"problems"`
}

// PlanAddress is an address of the node.
type PlanAddress struct {
	Address   string `json:"address"`
	Interface string `json:"interface,omitempty"`
	Reason    string `json:"reason,omitempty"` // why it does not serve
}

// PlanPort is one port of a Service. One that cannot be used as it is written has the Service and NotServed alone.
type PlanPort struct {
	Namespace string         `json:"namespace"`
	Service   string         `json:"service"`
	PortName  string         `json:"portName,omitempty"`
	Port      uint16         `json:"port"`
	NodePort  uint16         `json:"nodePort"`
	Extra     bool           `json:"extra"` // asked for beside the node ports
	Protocol  string         `json:"protocol"`
	Policy    string         `json:"externalTrafficPolicy"`
	Scheduler string         `json:"scheduler"`
	NotServed string         `json:"notServed,omitempty"`
	Frontends []PlanFrontend `json:"frontends"`
}

// PlanFrontend is one address of a PlanPort.
type PlanFrontend struct {
	Address     string   `json:"address"`
	Served      bool     `json:"served"`
	Holder      string   `json:"holder,omitempty"`
	Masquerade  string   `json:"masquerade"` // none, pods, remote or all
	Internal    bool     `json:"internal"`   // only the node and its pods may connect
	RealServers []string `json:"realServers"`
	Weights     []uint32 `json:"weights"`               // of the real servers, in their order
	Nodes       []string `json:"-"`                     // likewise; empty where nobody says: for people
	Maintenance []string `json:"maintenance,omitempty"` // endpoints of weight 0
	NoClients   string   `json:"noClients,omitempty"`   // why nobody may connect
	Reason      string   `json:"reason,omitempty"`
}

// PlanSetting is something that the author of a Service chose beyond what Kubernetes knows.
type PlanSetting struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Name      string `json:"name"` // the annotation, or the field
	Written   string `json:"written"`
	InForce   string `json:"inForce"`
	Reason    string `json:"reason,omitempty"` // why not all of it is
}

// PlanCheck is the health check of a Service's load balancer.
type PlanCheck struct {
	Namespace   string             `json:"namespace"`
	Service     string             `json:"service"`
	Port        uint16             `json:"port"`
	Addresses   []PlanCheckAddress `json:"addresses"`
	NotAnswered string             `json:"-"` // why there are no addresses: for people
}

// PlanCheckAddress is one address of a PlanCheck.
type PlanCheckAddress struct {
	Address        string `json:"address"`
	Answered       bool   `json:"answered"`
	Holder         string `json:"holder,omitempty"` // of the port, if it is not answered
	LocalEndpoints int    `json:"localEndpoints"`
	answer         string // in words
}

// PlanProblem is something that is not in force as it is written.
type PlanProblem struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Skipped bool   `json:"skipped"`
}

// NewPlan is the plan of a node by its addresses and a state that nobody brings to a kernel.
func NewPlan(node string, serving []nodeaddr.Address, rejected []nodeaddr.Rejected, s *sync.State) Plan {
	p := Plan{
		Node: node, Addresses: []PlanAddress{}, NotServing: []PlanAddress{},
		ServicePorts: []PlanPort{}, HealthChecks: []PlanCheck{}, Settings: []PlanSetting{}, Problems: []PlanProblem{},
	}
	for _, a := range serving {
		p.Addresses = append(p.Addresses, PlanAddress{Address: a.Addr.String(), Interface: a.Interface})
	}
	for _, r := range rejected {
		p.NotServing = append(p.NotServing, PlanAddress{Address: r.Addr.String(), Interface: r.Interface, Reason: r.Reason})
	}
	for _, v := range s.View() {
		p.ServicePorts = append(p.ServicePorts, planPort(v))
	}
	for _, v := range s.ViewChecks() {
		p.HealthChecks = append(p.HealthChecks, planCheck(v))
	}
	for _, v := range s.ViewSettings() {
		for _, set := range v.Settings {
			p.Settings = append(p.Settings, PlanSetting{
				Namespace: v.Service.Namespace, Service: v.Service.Name, Name: set.Name, Written: set.Written, InForce: set.InForce, Reason: set.Why,
			})
		}
	}
	for _, problem := range s.Problems() {
		p.Problems = append(p.Problems, PlanProblem{
			Object: problem.Object, Reason: string(problem.Reason), Message: problem.Message, Skipped: problem.Skipped,
		})
	}
	return p
}

func planPort(v sync.PortView) PlanPort {
	port := PlanPort{Namespace: v.Service.Namespace, Service: v.Service.Name, NotServed: v.NotServed, Frontends: []PlanFrontend{}}
	if v.NodePort == 0 {
		return port
	}
	port.PortName, port.Port, port.NodePort, port.Extra = v.Name, v.Port, v.NodePort, v.Extra
	port.Protocol, port.Policy, port.Scheduler = strings.ToUpper(v.Protocol.String()), v.Policy.String(), v.Scheduler
	nodes := map[netip.AddrPort]string{}
	for _, e := range v.Endpoints {
		nodes[e.Addr] = e.Node
	}
	for _, f := range v.Frontends {
		port.Frontends = append(port.Frontends, planFrontend(f, nodes))
	}
	return port
}

// planFrontend has the nodes of the port's endpoints, too.
func planFrontend(v sync.FrontendView, nodes map[netip.AddrPort]string) PlanFrontend {
	f := PlanFrontend{
		Address: v.Key.Addr.String(), Served: v.Served, Masquerade: v.Masquerade.String(), Internal: v.Internal,
		RealServers: []string{}, Weights: []uint32{}, NoClients: v.NoClients, Reason: v.Why,
	}
	for _, r := range v.Reals {
		f.RealServers, f.Weights, f.Nodes = append(f.RealServers, r.Addr.String()), append(f.Weights, r.Weight), append(f.Nodes, nodes[r.Addr])
	}
	for _, addr := range v.Maintenance {
		f.Maintenance = append(f.Maintenance, addr.String())
	}
	switch {
	case v.Obstacle != "":
		f.Reason = v.Obstacle
	case !v.Served:
		f.Holder, f.Reason = v.Holder.String(), "another Service holds the port"
	}
	return f
}

func planCheck(v sync.CheckView) PlanCheck {
	c := PlanCheck{
		Namespace: v.Service.Namespace, Service: v.Service.Name, Port: v.Port, Addresses: []PlanCheckAddress{}, NotAnswered: v.NotAnswered,
	}
	for _, a := range v.Addresses {
		address := PlanCheckAddress{Address: a.Addr.String(), Answered: a.Answered, LocalEndpoints: a.LocalEndpoints, answer: checkAnswer(a)}
		if !a.Answered {
			address.Holder = a.Holder.String()
		}
		c.Addresses = append(c.Addresses, address)
	}
	return c
}
