package suite

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// Protocols that every provider can ask with.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Frontend is a node port on an address of a node.
type Frontend struct {
	Node     string
	Protocol string
	At       netip.AddrPort
}

func (f Frontend) String() string { return f.Protocol + " " + f.At.String() + " of " + f.Node }

// Frontends are the node ports of a Service on the addresses that are chosen, of the nodes that are named or of all.
func (c *Case) Frontends(s *corev1.Service, only ...string) []Frontend {
	return c.frontends(s, only, func(n Node) []netip.Addr { return n.Chosen })
}

// Unchosen are the same on addresses that must not serve.
func (c *Case) Unchosen(s *corev1.Service) []Frontend {
	return c.frontends(s, nil, func(n Node) []netip.Addr { return n.Others })
}

func (c *Case) frontends(s *corev1.Service, only []string, of func(Node) []netip.Addr) []Frontend {
	var all []Frontend
	for _, n := range c.Nodes() {
		if len(only) > 0 && !slices.Contains(only, n.Name) {
			continue
		}
		for _, a := range of(n) {
			for _, p := range []string{TCP, UDP} {
				if port := NodePort(s, p); port != 0 {
					all = append(all, Frontend{n.Name, p, netip.AddrPortFrom(a, port)})
				}
			}
		}
	}
	return all
}

// AskAt asks a frontend from outside.
func (c *Case) AskAt(f Frontend, n int) Tally {
	c.Helper()
	return c.AskFrom(Outside, f, n)
}

// AskFrom asks a frontend.
func (c *Case) AskFrom(place string, f Frontend, n int) Tally {
	c.Helper()
	tally, err := c.Ask(c.ctx, Question{From: place, Protocol: f.Protocol, To: f.At, Count: n})
	c.Must(err)
	return tally
}

// Spreads returns nil if each of these pods, and nobody else, answers its share at a frontend.
func (c *Case) Spreads(f Frontend, pods ...string) error {
	c.Helper()
	const each = 2
	if len(pods) == 0 {
		return fmt.Errorf("%s: there are no pods", f)
	}
	tally := c.AskAt(f, each*len(pods))
	if len(tally.Failures) > 0 || len(tally.Pods) != len(pods) {
		return fmt.Errorf("%s: %v, want answers of %v only", f, tally, pods)
	}
	for _, p := range pods {
		if tally.Pods[p] != each {
			return fmt.Errorf("%s: %v, want %d answers of each of %v", f, tally, each, pods)
		}
	}
	return nil
}

// mustBeSome ends a case that has nothing to ask: of that every promise holds.
func (c *Case) mustBeSome(frontends []Frontend) {
	c.Helper()
	if len(frontends) == 0 {
		c.Fatal("there are no frontends")
	}
}

// ServedBy waits until all frontends spread over these pods.
func (c *Case) ServedBy(frontends []Frontend, pods ...string) {
	c.Helper()
	c.mustBeSome(frontends)
	for _, f := range frontends {
		c.Eventually(f.String(), func() error { return c.Spreads(f, pods...) })
	}
}

// Silent waits until nobody answers at the frontends.
func (c *Case) Silent(frontends []Frontend) {
	c.Helper()
	c.mustBeSome(frontends)
	for _, f := range frontends {
		c.Eventually(f.String()+" silent", func() error {
			if tally := c.AskAt(f, 1); tally.Answers() > 0 {
				return fmt.Errorf("answered by %v", tally)
			}
			return nil
		})
	}
}

// Refused waits until the nodes themselves say at the frontends that nobody serves there: the addresses exist.
func (c *Case) Refused(frontends []Frontend) {
	c.Helper()
	c.mustBeSome(frontends)
	for _, f := range frontends {
		c.Eventually(f.String()+" refused", func() error {
			if tally := c.AskAt(f, 1); len(tally.Failures) != 1 || !strings.Contains(tally.Failures[0], syscall.ECONNREFUSED.Error()) {
				return fmt.Errorf("%v", tally)
			}
			return nil
		})
	}
}

// Some are four of the frontends that have every protocol, family, network and node among them, as far as the whole has.
func Some(frontends []Frontend) []Frontend {
	var names []string
	for _, f := range frontends {
		if !slices.Contains(names, f.Node) {
			names = append(names, f.Node)
		}
	}
	var some []Frontend
	for i := range 2 {
		of := slices.DeleteFunc(slices.Clone(frontends), func(f Frontend) bool { return f.Node != names[i%len(names)] })
		tcp, udp := Over(TCP, of), Over(UDP, of)
		if len(tcp) > 0 {
			some = append(some, tcp[i%len(tcp)]) // network A, then B: IPv4
		}
		if len(udp) > 0 {
			some = append(some, udp[max(0, len(udp)-1-i)]) // network B, then A: IPv6
		}
	}
	return some
}

// Over keeps the frontends of a protocol.
func Over(protocol string, frontends []Frontend) []Frontend {
	return slices.DeleteFunc(slices.Clone(frontends), func(f Frontend) bool { return f.Protocol != protocol })
}
