package nodes

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Port is where [Server] listens, for lab.Network.Forward.
const Port = 4711

// Places to ask from. A pod is NAMESPACE/NAME.
const (
	Client = "client"
	Node1  = "node1"
	Node2  = "node2"
)

// Question is a number of requests from one place to one address, one after the other, each on a connection of its own.
type Question struct {
	From     string
	Protocol string // as in package topo
	To       netip.AddrPort
	Count    int
}

// Load is a question that is asked until it is stopped.
type Load struct {
	Question               // without Count
	Workers  int           // requests at a time
	Pause    time.Duration // of each worker after a request
}

// Tally counts answers.
type Tally struct {
	Pods     map[string]int     // answers by pod
	Clients  map[netip.Addr]int // answers by the client that the pod saw
	Failures []string           // requests without an answer: when they were sent, and why
}

// Answers returns the number of requests that were answered.
func (t Tally) Answers() int {
	n := 0
	for _, c := range t.Pods {
		n += c
	}
	return n
}

// String lists pods, clients and the first failures.
func (t Tally) String() string {
	var b strings.Builder
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		fmt.Fprintf(&b, "%s: %d, ", pod, t.Pods[pod])
	}
	fmt.Fprintf(&b, "clients %v, failures: %d", t.Clients, len(t.Failures))
	for _, f := range t.Failures[:min(3, len(t.Failures))] {
		fmt.Fprintf(&b, "\n\t%s", f)
	}
	return b.String()
}

func newTally(t topo.Tally) Tally {
	wire := Tally{Pods: t.Pods, Clients: t.Clients}
	for _, f := range t.Failures {
		wire.Failures = append(wire.Failures, fmt.Sprintf("%s: %v", f.At.UTC().Format("15:04:05.000"), f.Err))
	}
	return wire
}

// AgentOptions say how a node's agent is started.
type AgentOptions struct {
	Node    string
	Program string   // absolute path; "" is the agent in PATH
	Flags   []string // besides those that it cannot do without
}

// Command is a program that is run on a node to its end.
type Command struct {
	Place string
	Args  []string
	Stdin string
}

// Result is how a command ended.
type Result struct {
	Code   int
	Output string // both of its outputs
}

// Address is one of a node's.
type Address struct {
	Node   string
	Device string // topo.DevA, topo.DevB
	Prefix netip.Prefix
}

// Get is a GET request to a URL whose host is an address.
type Get struct {
	From, URL string
}

// Response is the answer to a Get.
type Response struct {
	Status int
	Header map[string][]string
	Body   string
}
