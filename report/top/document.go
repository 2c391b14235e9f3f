package top

import (
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// Document is what a node does now, as Once gives it. Fields are added, never renamed.
type Document struct {
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// FromKernel: no agent answered, so there are virtual servers instead of Services.
	FromKernel bool `json:"fromKernel"`
	// Seconds is the time over which the rates were taken; 0 if there are none yet.
	Seconds  float64 `json:"seconds"`
	SortedBy Sort    `json:"sortedBy"`
	// Total is that of all ports, those that are left out included.
	Total Total  `json:"total"`
	Ports []Port `json:"ports"`
	// LeftOut is how many ports are not in Ports: by a filter, or beyond the number that was asked for.
	LeftOut int `json:"leftOut"`
}

// Total adds up all Service ports.
type Total struct {
	Ports    int    `json:"ports"`
	Active   uint64 `json:"activeConnections"`
	Inactive uint64 `json:"inactiveConnections"`
	Rates    *Rates `json:"rates"`
}

// Port is a Service port with its rates.
type Port struct {
	report.PortTraffic
	// Rates are nil as long as they are not known: for the first document, and for what was not in the one before.
	Rates *Rates `json:"rates"`
	// List takes the place of that of PortTraffic.
	List []Endpoint `json:"list,omitempty"`
}

// Endpoint is an endpoint with its rates.
type Endpoint struct {
	report.EndpointTraffic
	Rates *Rates `json:"rates"`
}

// Rates are counters per second.
type Rates struct {
	Connections float64 `json:"connectionsPerSecond"`
	InPackets   float64 `json:"inPacketsPerSecond"`
	OutPackets  float64 `json:"outPacketsPerSecond"`
	InBytes     float64 `json:"inBytesPerSecond"`
	OutBytes    float64 `json:"outBytesPerSecond"`
}

// bytes is the traffic in both directions.
func (r *Rates) bytes() float64 {
	if r == nil {
		return 0
	}
	return r.InBytes + r.OutBytes
}

func (r *Rates) connections() float64 {
	if r == nil {
		return 0
	}
	return r.Connections
}

// key is what a Service port, or a virtual server, is known by from one document to the next. One with extra ports has a row
// for each of its ports on the node.
type key struct {
	namespace, service, port, protocol string
	nodePort                           uint16
}

func keyOf(p *report.PortTraffic) key {
	return key{p.Namespace, p.Service, p.Port, p.Protocol, p.NodePort}
}

// asked is what a Source is asked for to get the endpoints: NAMESPACE/NAME, or ADDRESS:PORT of a virtual server without a Service.
func (k key) asked() string {
	if k.service == "" {
		return k.port
	}
	return k.namespace + "/" + k.service
}
