package suite

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
)

// Outside is the place of a client outside of the cluster. Other places to ask from are pods, as NAMESPACE/NAME, and nodes.
const Outside = nodes.Client

// Words of the probe, which are those of the lab's nodes.
type (
	// Question is a number of requests from one place to one address.
	Question = nodes.Question
	// Load is a question that is asked until it is stopped.
	Load = nodes.Load
	// Tally counts answers.
	Tally = nodes.Tally
	// Get is a GET request.
	Get = nodes.Get
	// Response is the answer to it.
	Response = nodes.Response
)

// Provider is a cluster with an agent on each of its nodes.
type Provider interface {
	Probe
	// Config is an administrator's credential, without limits.
	Config() *rest.Config
	// Nodes are those whose node ports are asked.
	Nodes() []Node
	// Clients are the addresses of who asks from Outside.
	Clients() []netip.Addr
	// Server is a container that answers over HTTP, TCP and UDP at port 8080 with the name of its Pod and the client.
	Server() corev1.Container
	// RollAgents replaces every agent, one after the other, as the update of a DaemonSet does, and returns when the new
	// ones are ready.
	RollAgents(ctx context.Context) error
	// Verdict says what went wrong with the cluster itself, such as requests that authorization refused.
	Verdict() error
	// Diagnosis is for a person who looks at a case that failed.
	Diagnosis(ctx context.Context) string
	// Close ends everything and leaves nothing behind.
	Close() error
}

// Node is a node with its addresses.
type Node struct {
	Name   string
	Chosen []netip.Addr // those of --nodeport-addresses, of each network and family
	Others []netip.Addr // those that must not serve
}

// Probe asks.
type Probe interface {
	// Ask asks and returns who answered. Requests without an answer are in the tally; the error is about the probe.
	Ask(ctx context.Context, q Question) (Tally, error)
	// StartLoad asks until StopLoad.
	StartLoad(ctx context.Context, l Load) (load int, err error)
	LoadTally(ctx context.Context, load int) (Tally, error)
	StopLoad(ctx context.Context, load int) (Tally, error)
	// Hold opens a connection that is kept, or for UDP takes a source port; AskOn asks once on it.
	Hold(ctx context.Context, q Question) (connection int, err error)
	AskOn(ctx context.Context, connection int) (Tally, error)
	Release(ctx context.Context, connection int) error
	// Get sends a GET request; any status is an answer.
	Get(ctx context.Context, g Get) (Response, error)
}

// Agents are a provider's whose agents can be ended and started one by one.
type Agents interface {
	KillAgent(ctx context.Context, node string) error
	StopAgent(ctx context.Context, node string) error
	// StartAgent starts the agent, or its next version, and returns when it is ready.
	StartAgent(ctx context.Context, node string, next bool) error
	AgentLog(ctx context.Context, node string) (string, error)
	AgentMetrics(ctx context.Context, node string) (map[string]float64, error)
}

// Addresses are a provider's that can give a node addresses and take them away.
type Addresses interface {
	// FreeAddresses are some that the node does not have, and that --nodeport-addresses chooses: of each network and family.
	FreeAddresses(node string) []netip.Addr
	AddAddress(ctx context.Context, node string, a netip.Addr) error
	RemoveAddress(ctx context.Context, node string, a netip.Addr) error
}

// APIServer is a provider's whose API server can be away.
type APIServer interface {
	KillAPIServer()
	StartAPIServer(ctx context.Context) error
	PauseAPIServer() error
	ResumeAPIServer() error
}

// Backups are a provider's that can put back what the API server had. It is away meanwhile; both return when it is ready.
type Backups interface {
	// Backup keeps what there is now, in place of an earlier backup.
	Backup(ctx context.Context) error
	// Restore puts back what there was at the last Backup: resourceVersions go back, too.
	Restore(ctx context.Context) error
}

// Proxies are a provider's that can run kube-proxy beside the agents, with its node ports off.
type Proxies interface {
	StartProxies(ctx context.Context) error
	StopProxies(ctx context.Context) error
}

// Shell is a provider's that runs programs in the network namespace of a node.
type Shell interface {
	// Run returns both outputs; a program that fails is an error.
	Run(ctx context.Context, node, stdin string, args ...string) (string, error)
}

// Stopwatch is a provider's that changes EndpointSlices and looks at the kernel of a node with one clock.
type Stopwatch interface {
	// Measure returns the times from the API server's answer to the programmed kernel.
	Measure(ctx context.Context, c nodes.Changes) ([]time.Duration, error)
}
