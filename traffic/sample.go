package traffic

import (
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Sample is what was counted up to a moment. It is not written to any more.
type Sample struct {
	Time   time.Time
	Ports  map[sync.PortRef]Port
	former formers
}

// Port is the traffic of one Service port on all addresses of this node.
type Port struct {
	Counters ipvs.Counters
	// Active and Inactive are the connections of its endpoints now.
	Active, Inactive uint64
	// Endpoints are those that the kernel has, draining ones included.
	Endpoints map[netip.AddrPort]Endpoint
}

// Endpoint is the traffic of one endpoint behind a Service port.
type Endpoint struct {
	// Counters are zero until Counted, and may be older than those of the port: reading them takes one question for each
	// virtual server that had traffic, and so many are asked in a round.
	Counters ipvs.Counters
	Counted  bool
	// Active and Inactive are its connections now. Inactive ones include those in TIME_WAIT and all of UDP.
	Active, Inactive uint64
	// Weight is the largest that it has on any address.
	Weight uint32
	// Draining: it gets no new connection and waits for those that it has.
	Draining bool
}
