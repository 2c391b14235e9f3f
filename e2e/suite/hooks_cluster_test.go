//go:build cluster

package suite_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// Requests of a client, and the answers, counted at the hooks of the node that is asked and of the node of the pod.
func TestANetworkPolicySeesRequestsAtInputAndOutputAndAnswersAtForward(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		suite.Need[suite.Shell](c)
		here, there := c.Nodes()[0].Name, c.Nodes()[1].Name
		web := c.Service("web")
		c.PodOnEach("web")
		for _, f := range suite.Over(suite.TCP, c.Frontends(web, here)) {
			c.ServedBy([]suite.Frontend{f}, "web-"+here, "web-"+there)
			for _, pod := range []string{"web-" + here, "web-" + there} {
				addr := addressOf(c, pod, f.At.Addr().Is4())
				policy := watchHooks(c, here, f, addr)
				remote := watchHooks(c, there, f, addr)
				const n = 8 // so that each pod answers four
				if err := answers(c, suite.Outside, f, n); err != nil {
					c.Error(err)
				}
				policy.saw("asked at input", n)          // by its original address, before IPVS
				policy.saw("client to pod at output", 4) // by the pod's address, before the masquerade
				policy.saw("to pod at forward", 0)
				policy.saw("from pod at forward", 4)
				remote.saw("asked at input", 0)
				if pod == "web-"+there {
					remote.saw("to pod at forward", 4)
					remote.saw("client to pod at forward", 0) // its client is the first node now
				} else {
					remote.saw("to pod at forward", 0)
				}
			}
		}
	})
}

// hooks are counters of the first packets of connections and of the first answers, in chains as those of NetworkPolicies
// are: priority filter.
type hooks struct {
	c     *suite.Case
	node  string
	table string
}

var unsafe = regexp.MustCompile(`[^a-z0-9]`)

func counterName(s string) string { return unsafe.ReplaceAllString(s, "_") }

func watchHooks(c *suite.Case, node string, f suite.Frontend, pod netip.Addr) hooks {
	c.Helper()
	h := hooks{c, node, "watched"}
	family := "ip"
	if pod.Is6() {
		family = "ip6"
	}
	clients := c.Clients()
	client := clients[slices.IndexFunc(clients, func(a netip.Addr) bool { return sameNetwork(a, f.At.Addr()) })]
	script := "table inet " + h.table + " {\n"
	hooked := map[string]string{}
	for _, w := range []struct{ name, hook, match string }{
		{"asked at input", "input", fmt.Sprintf("%s daddr %s tcp dport %d ct state new", family, f.At.Addr(), f.At.Port())},
		{"client to pod at output", "output", fmt.Sprintf("%s saddr %s %s daddr %s tcp flags & (syn | ack) == syn", family, client, family, pod)},
		{"to pod at forward", "forward", fmt.Sprintf("%s daddr %s tcp flags & (syn | ack) == syn", family, pod)},
		{"client to pod at forward", "forward", fmt.Sprintf("%s saddr %s %s daddr %s tcp flags & (syn | ack) == syn", family, client, family, pod)},
		{"from pod at forward", "forward", fmt.Sprintf("%s saddr %s tcp flags & (syn | ack) == (syn | ack)", family, pod)},
	} {
		script += "counter " + counterName(w.name) + " { }\n"
		hooked[w.hook] += w.match + " counter name " + counterName(w.name) + "\n"
	}
	for _, hook := range []string{"input", "output", "forward"} {
		script += fmt.Sprintf("chain %s {\ntype filter hook %s priority filter; policy accept;\n%s}\n", hook, hook, hooked[hook])
	}
	h.run("add table inet " + h.table + "\ndelete table inet " + h.table + "\n" + script + "}\n")
	c.Cleanup(func() { h.run("add table inet " + h.table + "\ndelete table inet " + h.table + "\n") })
	return h
}

func (h hooks) run(script string) {
	h.c.Helper()
	_, err := suite.Need[suite.Shell](h.c).Run(h.c.Context(), h.node, script, "nft", "-f", "-")
	h.c.Must(err)
}

var packets = regexp.MustCompile(`packets (\d+)`)

func (h hooks) saw(what string, want int) {
	h.c.Helper()
	out, err := suite.Need[suite.Shell](h.c).Run(h.c.Context(), h.node, "", "nft", "list", "counter", "inet", h.table, counterName(what))
	h.c.Must(err)
	m := packets.FindStringSubmatch(out)
	if m == nil {
		h.c.Fatalf("nft says %q", out)
	}
	if got, err := strconv.Atoi(m[1]); err != nil || got != want {
		h.c.Errorf("%s, %s: %s, want %d", h.node, what, m[1], want)
	}
}

// sameNetwork tells whether two addresses are of one network of the lab.
func sameNetwork(a, b netip.Addr) bool {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Contains(b)
}

// addressOf waits for the address of a Pod.
func addressOf(c *suite.Case, pod string, v4 bool) netip.Addr {
	c.Helper()
	p := &corev1.Pod{}
	p.Name = pod
	c.Read(p)
	for _, ip := range p.Status.PodIPs {
		if a := netip.MustParseAddr(ip.IP); a.Is4() == v4 {
			return a
		}
	}
	c.Fatalf("pod %s has addresses %v", pod, p.Status.PodIPs)
	return netip.Addr{}
}
