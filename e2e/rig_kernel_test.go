//go:build kernel

// Package e2e tries the agent as it is shipped: its own binary, on a node with real IPVS and nftables, with packets from
// a client to pods.
//
//	manifests ─► kube-ipvs run ─► IPVS, nftables, sysctls of node1 ◄── what the tests look at
//	                                 │
//	client ── networks A and B ──────┴──► pods on node1 and node2 ──► who answered, and whom it saw
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// nodePort is that of the Service web of the tests.
const nodePort = 30080

// Flags of the agent.
const (
	bothNetworks = "--nodeport-addresses=10.1.0.0/24,10.2.0.0/24,fd01::/64,fd02::/64"
	oftenAudited = "--ipvs-sync-period=1s"
	neverAudited = "--ipvs-sync-period=10m" // but at the start
)

// soon bounds what takes a fraction of a second on a real machine: the guest emulates its one processor, and may get little
// of a busy host's.
const soon = 15 * time.Second

// rig is the network with an agent on its node 1.
type rig struct {
	*topo.Topology
	*agent.Manifests
	state string // the agent's state directory
	// lastPort is the last of the client's ports that a test chose by itself, above 10000.
	lastPort uint16
	agent    *agent.Agent
	web1     *topo.Pod // on node 1
	web2     *topo.Pod // on node 2
}

// newRig builds the network with a pod on each node. No agent runs yet.
func newRig(t *testing.T, options ...topo.PodOption) *rig {
	t.Helper()
	begin := time.Now()
	network, err := topo.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Topology: network, Manifests: agent.NewManifests(t.TempDir()), state: t.TempDir()}
	t.Cleanup(func() {
		if r.agent != nil {
			if err := r.agent.Kill(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("the agent's log:\n%s", r.agent.Log())
			}
		}
		for _, node := range []*topo.Host{r.Node1, r.Node2} {
			empty(t, node)
		}
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, r.Node(r.Node1))
	r.web1, r.web2 = r.pod(t, r.Node1, "web-1", options...), r.pod(t, r.Node2, "web-2", options...)
	t.Logf("the network took %s", since(begin))
	return r
}

// empty takes from a node what would hold modules for as long as its namespace lives. That is minutes where a connection in it was
// closed whose other end is not heard any more.
func empty(t *testing.T, node *topo.Host) {
	t.Helper()
	for _, args := range [][]string{{"ipvsadm", "-C"}, {"nft", "flush", "ruleset"}} {
		if out, err := node.Command(context.WithoutCancel(t.Context()), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v on %s: %v\n%s", args, node.Name, err, out)
		}
	}
}

func (r *rig) pod(t *testing.T, node *topo.Host, name string, options ...topo.PodOption) *topo.Pod {
	t.Helper()
	p, err := r.AddPod(t.Context(), node, name, options...)
	must(t, err)
	return p
}

// start runs the agent, until the test that made the rig ends or it is stopped.
func (r *rig) start(t *testing.T, flags ...string) {
	t.Helper()
	begin := time.Now()
	a, err := agent.Start(context.WithoutCancel(t.Context()), r.Node1, r.options(flags...))
	must(t, err)
	r.agent = a
	t.Logf("the agent was ready after %s", since(begin))
}

// since is for people.
func since(begin time.Time) time.Duration { return time.Since(begin).Round(time.Millisecond) }

func (r *rig) options(flags ...string) agent.Options {
	return agent.Options{Dir: r.Dir, StateDir: r.state, Flags: flags}
}

// kill ends an agent that runs. One that had ended before is an error: the kernel serves on without it.
func (r *rig) kill(t *testing.T) {
	t.Helper()
	select {
	case <-r.agent.Ended():
		t.Errorf("the agent had ended by itself:\n%s", r.agent.Log())
	default:
	}
	must(t, r.agent.Kill())
}

func (r *rig) stop(t *testing.T) {
	t.Helper()
	must(t, r.agent.Stop())
}

// web is a Service with one TCP port.
func web() agent.Service {
	return agent.Service{Name: "web", Ports: []agent.Port{{NodePort: nodePort}}}
}

// serve writes a Service with these endpoints.
func (r *rig) serve(t *testing.T, s agent.Service, endpoints ...agent.Endpoint) {
	t.Helper()
	must(t, r.Endpoints(s, endpoints)) // first: a Service without endpoints would be served as such for a moment
	must(t, r.Service(s))
}

// both are web-1 and web-2, ready.
func (r *rig) both() []agent.Endpoint {
	return []agent.Endpoint{agent.Ready(r.web1, r.Node1), agent.Ready(r.web2, r.Node2)}
}

// at is the node port on an address.
func at(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, nodePort) }

// key is the frontend of the node port on an address.
func key(addr netip.Addr, p frontend.Protocol) frontend.Key {
	return frontend.NewKey(addr, p, nodePort)
}

// dst is a pod as a real server for clients of addr.
func dst(p *topo.Pod, addr netip.Addr) netip.AddrPort {
	if addr.Is4() {
		return netip.AddrPortFrom(p.Addr4, topo.Port)
	}
	return netip.AddrPortFrom(p.Addr6, topo.Port)
}

func (r *rig) table(t *testing.T) ipvs.Table {
	t.Helper()
	table, err := agent.Table(t.Context(), r.Node1)
	must(t, err)
	return table
}

// weights of the real servers under a key, as the kernel has them.
func (r *rig) weights(ctx context.Context, k frontend.Key) (map[netip.AddrPort]uint32, error) {
	table, err := agent.Table(ctx, r.Node1)
	if err != nil {
		return nil, err
	}
	weights := map[netip.AddrPort]uint32{}
	for addr, real := range table[k].Reals {
		weights[addr] = real.Weight
	}
	return weights, nil
}

// rules are what our nftables table has.
func (r *rig) rules(ctx context.Context) (state filter.State, err error) {
	err = r.Node1.Do(func() error {
		table, err := filter.Open(filter.Options{})
		if err != nil {
			return err
		}
		state, err = table.Read(ctx)
		return err
	})
	return state, err
}

func (r *rig) generation(t *testing.T) (generation uint32) {
	t.Helper()
	must(t, r.Node1.Do(func() (err error) {
		generation, err = filter.Generation()
		return err
	}))
	return generation
}

func (r *rig) metric(t *testing.T, name string) float64 {
	t.Helper()
	all, err := r.agent.Metrics(t.Context())
	must(t, err)
	value, known := all[name]
	if !known {
		t.Fatalf("no metric %s", name)
	}
	return value
}

func (r *rig) operations(t *testing.T) int {
	t.Helper()
	n, err := r.agent.Operations(t.Context())
	must(t, err)
	return n
}

// awaitPasses returns when the agent has ended n more passes. When nothing changes, each pass is an audit.
func (r *rig) awaitPasses(t *testing.T, n int) {
	t.Helper()
	const passes = `kube_ipvs_sync_passes_total{result="ok"}`
	until := r.metric(t, passes) + float64(n)
	eventually(t, fmt.Sprintf("%d more passes", n), func() error {
		all, err := r.agent.Metrics(t.Context())
		if err == nil && all[passes] < until {
			err = fmt.Errorf("%v passes so far, not %v", all[passes], until)
		}
		return err
	})
}

// run runs a command on node 1 and returns its output.
func (r *rig) run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := r.Node1.Command(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// dial opens a TCP connection from the client and returns who answers on it. It is closed when the test ends.
func (r *rig) dial(t *testing.T, to netip.AddrPort) (net.Conn, string) {
	t.Helper()
	c, err := r.Client.Dial(t.Context(), topo.TCP, to)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c, askOn(t, c)
}

// askOn sends a request on an open connection and returns who answered.
func askOn(t *testing.T, c net.Conn) string {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	a, err := topo.AskOn(c)
	must(t, err)
	return a.Pod
}

// answersOnly requires that all of n requests were answered by one pod.
func (r *rig) answersOnly(t *testing.T, protocol string, to netip.AddrPort, n int, pod string) {
	t.Helper()
	if tally := topo.Count(t.Context(), r.Client, protocol, to, n); tally.Pods[pod] != n {
		t.Errorf("%s to %s: %v, want %d answers of %s", protocol, to, tally, n, pod)
	}
}

// refused requires that nobody answers and the client is told so at once.
func (r *rig) refused(t *testing.T, protocol string, to netip.AddrPort) {
	t.Helper()
	r.refusedFrom(t, r.Client, protocol, to)
}

func (r *rig) refusedFrom(t *testing.T, from *topo.Host, protocol string, to netip.AddrPort) {
	t.Helper()
	a, err := topo.Ask(t.Context(), from, protocol, to)
	if err == nil {
		t.Errorf("%s from %s to %s was answered by %s", protocol, from.Name, to, a.Pod)
	} else if !strings.Contains(err.Error(), "refused") {
		t.Errorf("%s from %s to %s: %v, want it refused", protocol, from.Name, to, err)
	}
}

// eventually fails the test if f has not returned nil after a while, which is long where the guest gets little of a busy
// host's time.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	must(t, agent.Eventually(ctx, what, f))
}

// holds fails the test if f returns an error within d, and if there is no time to see one.
func holds(t *testing.T, d time.Duration, what string, f func() error) {
	t.Helper()
	if d < time.Second {
		t.Fatalf("%s: only %s are left to look, in which nothing would be seen", what, d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var broken error
	looks := 0
	over := agent.Eventually(ctx, what, func() error {
		looks++
		if broken = f(); broken != nil {
			return nil // ends the watch
		}
		return errors.New("holds so far")
	})
	if over == nil {
		t.Fatalf("%s: %v", what, broken)
	}
	if looks < 2 {
		t.Fatalf("%s: one look took all of %s", what, d)
	}
}

// served requires that the node port is answered on all chosen addresses.
func (r *rig) served(t *testing.T) {
	t.Helper()
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6} {
		if a, err := topo.Ask(t.Context(), r.Client, topo.TCP, at(addr)); err != nil {
			t.Errorf("%s: %v %v", addr, a, err)
		}
	}
}

// hasReals is nil if each virtual server of the node port on the chosen addresses has n real servers.
func (r *rig) hasReals(t *testing.T, n int) error {
	t.Helper()
	table := r.table(t)
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6} {
		entry, served := table[key(addr, frontend.TCP)]
		if !served || len(entry.Reals) != n {
			return fmt.Errorf("%s has %d real servers (served: %v), want %d", key(addr, frontend.TCP), len(entry.Reals), served, n)
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
