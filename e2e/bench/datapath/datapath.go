// Package datapath measures requests through a node port, against the same pod asked directly and against a virtual server made by hand.
package datapath

import (
	"context"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Options of Run.
type Options struct {
	Subject  string         // whose rules serve node1 of Network
	Network  *topo.Topology // of the subject
	Pod      *topo.Pod      // on node1, the only endpoint
	NodePort uint16
	Pairs    int           // how many pairs of subject and hand, of each kind and family
	Each     time.Duration // how long one side of a pair runs
}

// Run measures throughput, latency and new connections, for IPv4 and IPv6, from the client of the network to node1's address on network A. The
// other side of each pair is a network of Run's own with ipvsadm's virtual server and one masquerade rule. It also counts the hooks and rules on a packet's way.
func Run(ctx context.Context, o Options, emit func(result.Sample)) error { panic("to be written") }
