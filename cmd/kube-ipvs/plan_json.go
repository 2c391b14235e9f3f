package main

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// The JSON form of a plan. Fields are added, never renamed.
type (
	planJSON struct {
		Node         string        `json:"node"`
		Addresses    []addressJSON `json:"addresses"`
		NotServing   []addressJSON `json:"notServing"`
		ServicePorts []portJSON    `json:"servicePorts"`
		HealthChecks []checkJSON   `json:"healthChecks"`
		Settings     []settingJSON `json:"settings"`
		Problems     []problemJSON `json:"problems"`
	}
	addressJSON struct {
		Address   string `json:"address"`
		Interface string `json:"interface,omitempty"`
		Reason    string `json:"reason,omitempty"`
	}
	portJSON struct {
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
		Frontends []frontendJSON `json:"frontends"`
	}
	frontendJSON struct {
		Address     string   `json:"address"`
		Served      bool     `json:"served"`
		Holder      string   `json:"holder,omitempty"`
		Masquerade  string   `json:"masquerade"` // none, pods, remote or all
		Internal    bool     `json:"internal"`   // only the node and its pods may connect
		RealServers []string `json:"realServers"`
		Weights     []uint32 `json:"weights"`               // of the real servers, in their order
		Maintenance []string `json:"maintenance,omitempty"` // endpoints of weight 0
		NoClients   string   `json:"noClients,omitempty"`   // why nobody may connect
		Reason      string   `json:"reason,omitempty"`
	}
	settingJSON struct {
		Namespace string `json:"namespace"`
		Service   string `json:"service"`
		Name      string `json:"name"` // the annotation, or the field
		Written   string `json:"written"`
		InForce   string `json:"inForce"`
		Reason    string `json:"reason,omitempty"` // why not all of it is
	}
	checkJSON struct {
		Namespace string             `json:"namespace"`
		Service   string             `json:"service"`
		Port      uint16             `json:"port"`
		Addresses []checkAddressJSON `json:"addresses"`
	}
	checkAddressJSON struct {
		Address        string `json:"address"`
		Answered       bool   `json:"answered"`
		Holder         string `json:"holder,omitempty"`
		LocalEndpoints int    `json:"localEndpoints"`
	}
	problemJSON struct {
		Object  string `json:"object"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Skipped bool   `json:"skipped"`
	}
)

func printJSON(w io.Writer, p *plan) error {
	out := planJSON{
		Node: p.node, Addresses: []addressJSON{}, NotServing: []addressJSON{}, ServicePorts: []portJSON{}, HealthChecks: []checkJSON{}, Settings: []settingJSON{}, Problems: []problemJSON{},
	}
	for _, a := range p.addresses {
		out.Addresses = append(out.Addresses, addressJSON{Address: a.Addr.String(), Interface: a.Interface})
	}
	for _, r := range p.rejected {
		out.NotServing = append(out.NotServing, addressJSON{Address: r.Addr.String(), Interface: r.Interface, Reason: r.Reason})
	}
	for _, v := range p.state.View() {
		out.ServicePorts = append(out.ServicePorts, portToJSON(v))
	}
	for _, v := range p.state.ViewChecks() {
		out.HealthChecks = append(out.HealthChecks, checkToJSON(v))
	}
	for _, v := range p.state.ViewSettings() {
		for _, s := range v.Settings {
			out.Settings = append(out.Settings, settingJSON{
				Namespace: v.Service.Namespace, Service: v.Service.Name, Name: s.Name, Written: s.Written, InForce: s.InForce, Reason: s.Why,
			})
		}
	}
	for _, problem := range p.problems {
		out.Problems = append(out.Problems, problemJSON{
			Object: problem.Object, Reason: string(problem.Reason), Message: problem.Message, Skipped: problem.Skipped,
		})
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}

func portToJSON(v sync.PortView) portJSON {
	if v.NodePort == 0 {
		return portJSON{Namespace: v.Service.Namespace, Service: v.Service.Name, NotServed: v.NotServed, Frontends: []frontendJSON{}}
	}
	port := portJSON{
		Namespace: v.Service.Namespace, Service: v.Service.Name, PortName: v.Name, Port: v.Port, NodePort: v.NodePort, Extra: v.Extra,
		Protocol: strings.ToUpper(v.Protocol.String()), Policy: v.Policy.String(), Scheduler: v.Scheduler, NotServed: v.NotServed,
		Frontends: []frontendJSON{},
	}
	for _, f := range v.Frontends {
		fj := frontendJSON{Address: f.Key.Addr.String(), Served: f.Served, Masquerade: f.Masquerade.String(), Internal: f.Internal, RealServers: []string{}, Weights: []uint32{}, Reason: f.Why}
		for _, r := range f.Reals {
			fj.RealServers, fj.Weights = append(fj.RealServers, r.Addr.String()), append(fj.Weights, r.Weight)
		}
		for _, addr := range f.Maintenance {
			fj.Maintenance = append(fj.Maintenance, addr.String())
		}
		fj.NoClients = f.NoClients
		switch {
		case f.Obstacle != "":
			fj.Reason = f.Obstacle
		case !f.Served:
			fj.Holder = f.Holder.String()
			fj.Reason = "another Service holds the port"
		}
		port.Frontends = append(port.Frontends, fj)
	}
	return port
}

func checkToJSON(v sync.CheckView) checkJSON {
	check := checkJSON{Namespace: v.Service.Namespace, Service: v.Service.Name, Port: v.Port, Addresses: []checkAddressJSON{}}
	for _, a := range v.Addresses {
		aj := checkAddressJSON{Address: a.Addr.String(), Answered: a.Answered, LocalEndpoints: a.LocalEndpoints}
		if !a.Answered {
			aj.Holder = a.Holder.String()
		}
		check.Addresses = append(check.Addresses, aj)
	}
	return check
}
