package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const (
	webPort = 30080
	dnsPort = 30053
	// chosen is which addresses of node1 serve: those of network A by prefix, which leaves admin4 and admin6 out, and
	// those of network B by interface.
	chosen = "10.1.0.0/25,fd01::/112,iface:" + topo.DevB
	// annotation is the one with which a Service chooses its scheduler.
	annotation = "kube-ipvs.io/scheduler"
)

// cast is who plays: the lab, the Services with their pods, and the agent. What an act makes here, the next ones use.
type cast struct {
	*stage
	net     *topo.Topology
	dir     string // holds the manifests and the agent's state
	written *agent.Manifests
	agents  []*agent.Agent // all that were started; the last one may be running

	web, dns       service
	admin4, admin6 netip.Addr // addresses of node1 that are not chosen
	foreign        ipvs.Table // what somebody else put into the IPVS table
}

// service is a Service with its pods.
type service struct {
	agent.Service
	protocol frontend.Protocol
	pods     []backend
}

// backend is a pod behind a Service.
type backend struct {
	*topo.Pod
	node        *topo.Host
	terminating bool
}

func (s *service) scheduler() string { return s.Annotations[annotation] }

func (s *service) port() uint16 { return uint16(s.Ports[0].NodePort) }

// key is the virtual server of the Service on an address.
func (s *service) key(addr netip.Addr) frontend.Key {
	return frontend.NewKey(addr, s.protocol, s.port())
}

// newService is a Service with one pod on each node.
func (c *cast) newService(ctx context.Context, name string, protocol frontend.Protocol, port int32, scheduler string) (service, error) {
	s := service{protocol: protocol}
	s.Name, s.Annotations = name, map[string]string{annotation: scheduler}
	p := agent.Port{Name: name, NodePort: port}
	if protocol == frontend.UDP {
		p.Protocol = corev1.ProtocolUDP
	}
	s.Ports = []agent.Port{p}
	for i, node := range []*topo.Host{c.net.Node1, c.net.Node2} {
		if err := c.addPod(ctx, &s, fmt.Sprintf("%s-%d", name, i+1), node); err != nil {
			return service{}, err
		}
	}
	return s, c.written.Service(s.Service)
}

// addPod starts a pod and puts it into the EndpointSlices of its Service.
func (c *cast) addPod(ctx context.Context, s *service, name string, node *topo.Host) error {
	pod, err := c.net.AddPod(ctx, node, name)
	if err != nil {
		return err
	}
	s.pods = append(s.pods, backend{Pod: pod, node: node})
	return c.publish(s)
}

// publish writes the EndpointSlices of a Service.
func (c *cast) publish(s *service) error {
	var endpoints []agent.Endpoint
	for _, b := range s.pods {
		if b.terminating {
			endpoints = append(endpoints, agent.Terminating(b.Pod, b.node))
		} else {
			endpoints = append(endpoints, agent.Ready(b.Pod, b.node))
		}
	}
	return c.written.Endpoints(s.Service, endpoints)
}

// addresses are those of node1 that are chosen.
func (c *cast) addresses() []netip.Addr {
	n := c.net.Node1
	return []netip.Addr{n.A4, n.A6, n.B4, n.B6}
}

// stateDir is that of every agent.
func (c *cast) stateDir() string { return c.dir + "/state" }

// startAgent starts an agent and returns how long it took to be ready.
func (c *cast) startAgent(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	a, err := agent.Start(ctx, c.net.Node1, agent.Options{
		Dir: c.written.Dir, StateDir: c.stateDir(), Flags: []string{"--nodeport-addresses", chosen},
	})
	if err != nil {
		return 0, err
	}
	c.agents = append(c.agents, a)
	return time.Since(start), nil
}

// agent is the one that was started last.
func (c *cast) agent() *agent.Agent { return c.agents[len(c.agents)-1] }

// want is what the agent should have in the IPVS table.
func (c *cast) want() ipvs.Table {
	table := ipvs.Table{}
	for _, s := range []*service{&c.web, &c.dns} {
		for _, addr := range c.addresses() {
			entry := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{}}
			entry.Scheduler = s.scheduler()
			if entry.Scheduler == "sh" {
				entry.Flags = ipvs.Sched1 // fallback: a client of a pod that leaves gets another one
			}
			for _, b := range s.pods {
				real := ipvs.RealServer{Forwarding: ipvs.Masquerade, Weight: 1}
				if b.terminating {
					real.Weight = 0
				}
				entry.Reals[b.real(addr)] = real
			}
			table[s.key(addr)] = entry
		}
	}
	return table
}

// lacks is what would have to be done to have what is wanted, one operation a line.
func (c *cast) lacks(have ipvs.Table) string { return ipvs.Diff(have, c.want()).String() }

// real is the real server of a pod behind an address.
func (b backend) real(addr netip.Addr) netip.AddrPort {
	if addr.Is4() {
		return netip.AddrPortFrom(b.Addr4, topo.Port)
	}
	return netip.AddrPortFrom(b.Addr6, topo.Port)
}

// split returns the agent's part of the kernel's table and what is foreign there.
func (c *cast) split(ctx context.Context) (ours, foreign ipvs.Table, err error) {
	table, err := agent.Table(ctx, c.net.Node1)
	if err != nil {
		return nil, nil, err
	}
	foreign = table.Only(c.foreign.Keys())
	ours = table.Only(slices.DeleteFunc(table.Keys(), func(k frontend.Key) bool {
		_, theirs := foreign[k]
		return theirs
	}))
	return ours, foreign, nil
}

// showAgentLogs helps whom a promise failed.
func (c *cast) showAgentLogs() {
	for _, a := range c.agents {
		c.say("\nThe log of the agent with pid %d:", a.PID())
		c.show(a.Log())
	}
}

// close takes down what there is.
func (c *cast) close() error {
	var errs []error
	for _, a := range c.agents {
		errs = append(errs, a.Kill())
	}
	if c.net != nil {
		errs = append(errs, c.net.Close())
	}
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
