//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Node ports of Services that restrict their clients. web does too: to network A, without the clients of far.
const (
	only4Port    = 30091 // IPv4 of network A
	denyPort     = 30092 // all but far
	podsPort     = 30093 // pods of node 1
	internalOnly = 30094 // as web, with policy Local and without an endpoint on node 1
	openPort     = 30095 // everybody
	specPort     = 30096 // as web, by spec.loadBalancerSourceRanges
	newPort      = 30097
)

// What web takes: network A but for what far is in.
const (
	nearRanges = "10.1.0.0/24,fd01::/64"
	farRanges  = "10.1.0.64/26,fd01::40/122"
)

// visitor is who asks: somebody at a host, by one of its addresses of each family.
type visitor struct {
	name   string
	host   *topo.Host
	v4, v6 netip.Addr
	// to are the node's addresses that it asks.
	to []netip.Addr
}

func (a visitor) at(to netip.Addr) netip.AddrPort {
	if to.Is4() {
		return netip.AddrPortFrom(a.v4, 0)
	}
	return netip.AddrPortFrom(a.v6, 0)
}

func (r *rig) near() visitor { return visitor{"near", r.Client, r.Client.A4, r.Client.A6, r.onA()} }

func (r *rig) far() visitor {
	return visitor{"far", r.Client, netip.MustParseAddr("10.1.0.66"), netip.MustParseAddr("fd01::66"), r.onA()}
}

// restricted is a Service on all protocols with annotations of ours.
func restricted(name string, port int32, pairs ...string) agent.Service {
	s := annotated(name, port, pairs...)
	s.Ports = append(s.Ports, agent.Port{Name: "sctp", NodePort: port, Protocol: corev1.ProtocolSCTP})
	return s
}

// silence is how long somebody waits for nothing.
const silence = 1500 * time.Millisecond

// visit says whether somebody is answered at a node port, on all of its addresses. Otherwise it hears nothing at all:
// neither an answer nor that there is none.
type visit struct {
	visitor
	port     uint16
	answered bool
}

// admits asks for everything at once, since silence takes its time.
func (r *rig) admits(t *testing.T, all ...visit) {
	t.Helper()
	var asks sync.WaitGroup
	for _, a := range all {
		for _, to := range a.to {
			for _, protocol := range protocols() {
				asks.Go(func() { r.visit(t, a, protocol, netip.AddrPortFrom(to, a.port)) })
			}
		}
	}
	asks.Wait()
}

func (r *rig) visit(t *testing.T, a visit, protocol string, to netip.AddrPort) {
	t.Helper()
	ctx := t.Context()
	if !a.answered {
		limited, cancel := context.WithTimeout(ctx, silence)
		defer cancel()
		ctx = limited
	}
	answer, err := topo.AskAs(ctx, a.host, a.at(to.Addr()), protocol, to)
	switch {
	case a.answered && err != nil:
		t.Errorf("%s: %v", a.name, err)
	case !a.answered && err == nil:
		t.Errorf("%s is answered: %s to %s: %v", a.name, protocol, to, answer)
	case a.answered || silent(err):
	case a.host == r.Node1 && strings.Contains(err.Error(), "not permitted"): // a node is told what it may not send
	default:
		t.Errorf("%s: %v, want silence", a.name, err)
	}
}

// silent reports an error that says that nothing was heard.
func silent(err error) bool {
	late, ok := errors.AsType[net.Error](err)
	return ok && late.Timeout()
}

// watch counts what web-1 receives of some clients from now on.
func (r *rig) watch(t *testing.T, clients ...visitor) {
	t.Helper()
	var rules strings.Builder
	for _, c := range clients {
		fmt.Fprintf(&rules, "add counter inet seen %s\n", c.name)
	}
	rules.WriteString("add chain inet seen in { type filter hook prerouting priority -300; }\n")
	for _, c := range clients {
		fmt.Fprintf(&rules, "add rule inet seen in ip saddr %s counter name %s\nadd rule inet seen in ip6 saddr %s counter name %s\n", c.v4, c.name, c.v6, c.name)
	}
	cmd := r.web1.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("add table inet seen\n" + rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// seen are the packets of a client that web-1 received since watch.
func (r *rig) seen(t *testing.T, client visitor) int {
	t.Helper()
	out, err := r.web1.Command(t.Context(), "nft", "list", "counter", "inet", "seen", client.name).CombinedOutput()
	must(t, err)
	words := strings.Fields(string(out))
	for i, word := range words {
		if word == "packets" && i+1 < len(words) {
			n, err := strconv.Atoi(words[i+1])
			must(t, err)
			return n
		}
	}
	t.Fatalf("nft says\n%s", out)
	return 0
}

// The endpoint sees its clients, so that it can be said whose packets reach it.
func TestOnlyClientsInTheSourceRangesAreHeard(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	far := r.far()
	must(t, r.Client.AddAddress(topo.DevA, netip.PrefixFrom(far.v4, 24)))
	must(t, r.Client.AddAddress(topo.DevA, netip.PrefixFrom(far.v6, 64)))
	here := agent.Ready(r.web1, r.Node1)
	r.serve(t, restricted("web", nodePort, "source-ranges", nearRanges, "deny-source-ranges", farRanges), here)
	r.serve(t, restricted("only4", only4Port, "source-ranges", "10.1.0.0/24"), here)
	r.serve(t, restricted("deny", denyPort, "deny-source-ranges", farRanges), here)
	r.serve(t, restricted("pods", podsPort, "source-ranges", "10.244.1.0/24,fd44:1::/64"), here)
	local := restricted("local", internalOnly, "source-ranges", nearRanges, "deny-source-ranges", farRanges)
	local.Policy = corev1.ServiceExternalTrafficPolicyLocal
	r.serve(t, local, agent.Ready(r.web2, r.Node2))
	r.serve(t, restricted("open", openPort), here)
	spec := restricted("spec", specPort)
	spec.Type, spec.SourceRanges = corev1.ServiceTypeLoadBalancer, strings.Split("10.1.0.2/32,fd01::2/128,10.244.0.0/16", ",")
	r.serve(t, spec, here)
	r.start(t, bothNetworks, "--masquerade=remote")

	t.Run("who is answered", r.testAccess)
	t.Run("an established connection lives on", r.testEstablished)
	t.Run("from the first packet on", r.testNewService)
	t.Run("also from a port used before", r.testPortsUsedAgain)
	t.Run("while the ranges change", r.testChangingRanges)
	t.Run("by spec.loadBalancerSourceRanges, and across a restart", func(t *testing.T) { r.testSpecRanges(t, spec) })
	t.Run("once nft flush ruleset is mended", r.testRangesFlushed)
}

func (r *rig) testAccess(t *testing.T) {
	near, far := r.near(), r.far()
	other := visitor{"other", r.Client, r.Client.B4, r.Client.B6, r.onB()}
	node := visitor{"node", r.Node1, r.Node1.A4, r.Node1.A6, r.onA()}
	elsewhere := visitor{"elsewhere", r.Node1, r.Node1.B4, r.Node1.B6, r.onB()}
	beside := r.pod(t, r.Node1, "beside")
	pod := visitor{"pod", beside.Host, beside.Addr4, beside.Addr6, r.all()}
	near4, near6 := near, near
	near4.to, near6.to = near.to[:1], near.to[1:]
	// First where all are answered: then that somebody is not heard is the doing of the ranges.
	r.admits(t, visit{near, openPort, true}, visit{far, openPort, true}, visit{other, openPort, true},
		visit{node, openPort, true}, visit{elsewhere, openPort, true}, visit{pod, openPort, true}, visit{far, specPort, true})
	r.watch(t, near, far)
	r.admits(t,
		visit{near, nodePort, true}, visit{far, nodePort, false}, visit{other, nodePort, false},
		visit{node, nodePort, true}, visit{elsewhere, nodePort, false}, visit{pod, nodePort, false},
		visit{near4, only4Port, true}, visit{near6, only4Port, false}, visit{far, denyPort, false},
		visit{near, denyPort, true}, visit{other, denyPort, true}, visit{pod, denyPort, true},
		visit{near, podsPort, false}, visit{node, podsPort, false}, visit{pod, podsPort, true},
		visit{near, internalOnly, false}, visit{node, internalOnly, true}, visit{pod, internalOnly, false}, visit{elsewhere, internalOnly, false})
	if n, m := r.seen(t, far), r.seen(t, near); n > 0 || m == 0 {
		t.Errorf("web-1 received %d packets of far and %d of near", n, m)
	}
}

func (r *rig) testEstablished(t *testing.T) {
	var open []talk
	for _, to := range r.onA() {
		for _, protocol := range protocols() {
			c, err := r.Client.DialAs(t.Context(), protocol, r.near().at(to), at(to))
			must(t, err)
			open = append(open, talk{c, askOn(t, c)})
		}
	}
	before := r.pointers(t)
	must(t, r.Service(restricted("web", nodePort, "source-ranges", "10.9.0.0/16")))
	r.awaitLists(t, before)
	r.admits(t, visit{r.near(), nodePort, false}, visit{r.far(), nodePort, false})
	goOn(t, open)
	before = r.pointers(t)
	must(t, r.Service(restricted("web", nodePort, "source-ranges", nearRanges, "deny-source-ranges", farRanges)))
	r.awaitLists(t, before)
	r.admits(t, visit{r.near(), nodePort, true})
	goOn(t, open)
	hangUp(t, open)
}

// pointers is which list each frontend of node 1 has, as the kernel says it.
func (r *rig) pointers(t *testing.T) string {
	t.Helper()
	return r.run(t, "", "nft", "list", "map", "inet", "kube-ipvs", "sources-ipv4") +
		r.run(t, "", "nft", "list", "map", "inet", "kube-ipvs", "sources-ipv6")
}

// awaitLists returns when some frontend of node 1 has another list than before. Lists are made before that.
func (r *rig) awaitLists(t *testing.T, before string) {
	t.Helper()
	eventually(t, "a list changes", func() error {
		if r.pointers(t) == before {
			return errors.New("all are as they were")
		}
		return nil
	})
}
