//go:build kernel

package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// hostServed is the node port of a server with hostNetwork on node 1.
const hostServed = 30104

// firewall is a base chain of somebody else on node 1.
type firewall struct {
	name    string
	ruleset string
	// cut are the requests that it keeps from being answered. All others are answered.
	cut  func(request) bool
	item string // what check says of it
	code int    // exit code of check
}

type request struct {
	from *topo.Host
	to   netip.AddrPort
}

// Firewalls that drop what is not allowed. An input chain of both families has to let neighbour discovery in.
const (
	dropForward4 = `table ip filter {
	chain FORWARD { type filter hook forward priority 0; policy drop; }
}`
	dropForward = `table inet fw {
	chain forward { type filter hook forward priority 0; policy drop; }
}`
	dropInput = `table inet fw {
	chain input {
		type filter hook input priority 0; policy drop
		iif lo accept
		ct state established,related accept
		meta l4proto ipv6-icmp accept
		tcp dport 22 accept
	}
}`
	rejectInput = `table inet fw {
	chain rest {
		tcp dport 22 accept
		reject
	}
	chain input {
		type filter hook input priority 0
		ct state vmap { established : accept, related : accept }
		iif lo accept
		meta l4proto ipv6-icmp accept
		goto rest
	}
}`
	dropOutput = `table inet fw {
	chain output {
		type filter hook output priority 0; policy drop
		oif lo accept
		ct state established,related accept
		meta l4proto ipv6-icmp accept
	}
}`
	// acceptAll is all that could be done in a table of our own: before and after the others.
	acceptAll = `table inet ours {
	chain input { type filter hook input priority -200; policy accept; }
	chain output { type filter hook output priority -200; policy accept; }
	chain forward { type filter hook forward priority -200; policy accept; }
	chain inputAfter { type filter hook input priority 50; policy accept; }
	chain outputAfter { type filter hook output priority 50; policy accept; }
	chain forwardAfter { type filter hook forward priority 50; policy accept; }
}`
)

func TestCheckNamesWhatAFirewallDropsAndTheRuleThatOpensIt(t *testing.T) {
	r := newRig(t)
	host1 := r.hostServer(t, r.Node1, "host-1")
	r.serve(t, web(), r.both()...)
	onHost := agent.Service{Name: "on-host", Ports: []agent.Port{{NodePort: hostServed, Target: hostPort}}}
	r.serve(t, onHost, agent.ReadyHost(host1))
	r.start(t, bothNetworks)

	for _, f := range []firewall{
		{"forward, IPv4", dropForward4, func(q request) bool { return q.to.Addr().Is4() && r.isForwarded(q) }, "firewall ip filter FORWARD", 1},
		{"forward, both families", dropForward, r.isForwarded, "firewall inet fw forward", 1},
		{"input", dropInput, func(q request) bool { return q.from != r.Node1 }, "firewall inet fw input", 0},
		{"input, by a last rule", rejectInput, func(q request) bool { return q.from != r.Node1 }, "firewall inet fw input", 0},
		{"output", dropOutput, func(q request) bool { return q.to.Port() == nodePort }, "firewall inet fw output", 1},
	} {
		t.Run(f.name, func(t *testing.T) { r.testFirewall(t, f) })
	}
}

// isForwarded reports whether the answer to a request meets the forward hook: a pod's does, unless it is for the node.
func (r *rig) isForwarded(q request) bool { return q.from != r.Node1 && q.to.Port() == nodePort }

func (r *rig) testFirewall(t *testing.T, f firewall) {
	defer func() {
		for _, table := range []string{"ip filter", "inet fw", "inet ours"} {
			r.run(t, "add table "+table+"\ndelete table "+table+"\n", "nft", "-f", "-")
		}
	}()
	r.run(t, acceptAll, "nft", "-f", "-")
	r.testRequests(t, "before", func(request) bool { return false })
	r.run(t, f.ruleset, "nft", "-f", "-")
	r.testRequests(t, "with the firewall, and an accept in another table", f.cut)

	out := r.check(t, f.code)
	rules := mend(t, out, f.item)
	t.Logf("check tells nft: %s", rules)
	r.run(t, "", "nft", rules)
	r.testRequests(t, "as check mended it", func(request) bool { return false })
	if out := r.check(t, 0); strings.Contains(out, f.item) {
		t.Errorf("check still names %q:\n%s", f.item, out)
	}
}

func (r *rig) check(t *testing.T, want int) string {
	t.Helper()
	begin := time.Now()
	// To ask for schedulers that the kernel has not takes seconds in the guest.
	out, code, err := agent.Check(t.Context(), r.Node1, append(r.checkFlags(), "--allowed-schedulers=rr")...)
	must(t, err)
	t.Logf("check took %s", since(begin))
	if code != want {
		t.Errorf("check: exit code %d, want %d\n%s", code, want, out)
	}
	return out
}

// mend is what check tells to give to nft about an item.
func mend(t *testing.T, out, item string) string {
	t.Helper()
	_, after, named := strings.Cut(out, item)
	if !named {
		t.Fatalf("check does not name %q:\n%s", item, out)
	}
	_, after, _ = strings.Cut(after, "→")
	_, after, _ = strings.Cut(after, "nft '")
	command, _, found := strings.Cut(after, "'")
	if !found {
		t.Fatalf("check names no rule for %s:\n%s", item, out)
	}
	return command
}

// testRequests asks from everywhere at once, since what is dropped takes all of its time.
func (r *rig) testRequests(t *testing.T, when string, cut func(request) bool) {
	t.Helper()
	const patience = time.Second
	type result struct {
		request
		err error
	}
	results := make(chan result)
	asked := 0
	for _, from := range []*topo.Host{r.Client, r.Node1, r.web1.Host, r.web2.Host} {
		for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B6} {
			for _, port := range []uint16{nodePort, hostServed} {
				q := request{from, netip.AddrPortFrom(addr, port)}
				asked++
				go func() {
					ctx := t.Context()
					if cut(q) {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, patience)
						defer cancel()
					}
					_, err := topo.Ask(ctx, q.from, topo.TCP, q.to)
					results <- result{q, err}
				}()
			}
		}
	}
	begin := time.Now()
	defer func() { t.Logf("%s: the requests took %s", when, since(begin)) }()
	for range asked {
		if got := <-results; (got.err != nil) != cut(got.request) {
			t.Errorf("%s: from %s to %s: %v, want it cut: %t", when, got.from.Name, got.to, got.err, cut(got.request))
		}
	}
}
