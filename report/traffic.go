package report

import "time"

// Traffic is what was counted by Service port, and by endpoint where that was asked for. Rates are for whoever asks twice:
// counters only grow while the agent runs.
type Traffic struct {
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// FromKernel: no agent answered, so there are virtual servers instead of Services.
	FromKernel bool          `json:"fromKernel"`
	Ports      []PortTraffic `json:"ports"`
}

// PortTraffic is the traffic of one Service port on all addresses of the node.
type PortTraffic struct {
	// Namespace and Service are empty if the traffic is that of a virtual server of which nobody knows the Service; Port is
	// its ADDRESS:PORT then.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	Port      string `json:"port"` // name, or number inside the cluster
	NodePort  uint16 `json:"nodePort"`
	Protocol  string `json:"protocol"` // TCP, UDP or SCTP
	Counters
	Active   uint64 `json:"activeConnections"`
	Inactive uint64 `json:"inactiveConnections"`
	// Endpoints is how many there are; List has them if they were asked for.
	Endpoints int               `json:"endpoints"`
	Draining  int               `json:"draining"`
	List      []EndpointTraffic `json:"list,omitempty"`
}

// EndpointTraffic is the traffic of one endpoint.
type EndpointTraffic struct {
	Address string `json:"address"`          // IP:PORT
	Target  string `json:"target,omitempty"` // "Pod default/web-1"
	Node    string `json:"node,omitempty"`
	Weight  uint32 `json:"weight"`
	// Draining: it gets no new connection.
	Draining bool `json:"draining"`
	// Counted is false as long as the counters have not been read.
	Counted bool `json:"counted"`
	Counters
	Active   uint64 `json:"activeConnections"`
	Inactive uint64 `json:"inactiveConnections"`
}

// Counters are totals: packets and bytes from clients (in) and to them (out).
type Counters struct {
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"inPackets"`
	OutPackets  uint64 `json:"outPackets"`
	InBytes     uint64 `json:"inBytes"`
	OutBytes    uint64 `json:"outBytes"`
}
