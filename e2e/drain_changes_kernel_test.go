//go:build kernel

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// overTCPAndSCTP is a Service whose connections have an end that the kernel sees.
func overTCPAndSCTP(name string, port int32, annotations map[string]string) agent.Service {
	return agent.Service{Name: name, Annotations: annotations, Ports: []agent.Port{
		{Name: "tcp", NodePort: port},
		{Name: "sctp", NodePort: port, Protocol: corev1.ProtocolSCTP},
	}}
}

// holdOn opens a connection of TCP and one of SCTP to a port on each of these addresses.
func (r *rig) holdOn(t *testing.T, port uint16, addrs ...netip.Addr) held {
	t.Helper()
	h := held{}
	for _, addr := range addrs {
		for _, protocol := range []string{topo.TCP, topo.SCTP} {
			c, err := r.Client.Dial(t.Context(), protocol, netip.AddrPortFrom(addr, port))
			must(t, err)
			t.Cleanup(func() { _ = c.Close() })
			h[c] = askOn(t, c)
		}
	}
	return h
}

func (h held) close(t *testing.T) {
	t.Helper()
	for c := range h {
		must(t, c.Close())
	}
}

func TestConnectionsOutliveAChangeOfTheirService(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	s := overTCPAndSCTP("web", nodePort, nil)
	r.serve(t, s, r.both()...)
	r.start(t, bothNetworks, "--drain-timeout=10m")
	t.Run("of its scheduler, in place", func(t *testing.T) {
		open := r.holdOn(t, nodePort, r.all()...)
		for _, scheduler := range []string{"wlc", "sh", "mh", "rr"} {
			s.Annotations = map[string]string{"kube-ipvs.io/scheduler": scheduler}
			must(t, r.Service(s))
			eventually(t, "it is "+scheduler, func() error {
				return r.eachOf(t, nodePort, 8, func(e ipvs.Entry) error {
					if e.Scheduler != scheduler || len(e.Reals) != 2 {
						return fmt.Errorf("%s with %d real servers", e.Scheduler, len(e.Reals))
					}
					return nil
				})
			})
			open.live(t)
			r.served(t)
		}
		all, err := r.agent.Metrics(t.Context())
		must(t, err)
		for _, verb := range []ipvs.Verb{ipvs.DelVirtual, ipvs.DelReal} {
			name := fmt.Sprintf(`kube_ipvs_kernel_operations_total{result="done",verb="%s"}`, verb)
			if n := all[name]; n > 0 { // none of that verb is none listed
				t.Errorf("%s is %v: the scheduler was not changed in place", name, n)
			}
		}
		open.close(t)
	})
	t.Run("of its networks", func(t *testing.T) {
		open := r.holdOn(t, nodePort, r.all()...)
		s.Annotations = map[string]string{"kube-ipvs.io/networks": "10.1.0.0/24,fd01::/64"}
		must(t, r.Service(s))
		eventually(t, "B takes nothing new", func() error { return r.closed(t, nodePort, r.onB()...) })
		r.givenUp(t, open, nodePort, r.onB()...)
		for _, addr := range r.onA() {
			for _, protocol := range []string{topo.TCP, topo.SCTP} {
				if _, err := topo.Ask(t.Context(), r.Client, protocol, at(addr)); err != nil {
					t.Error(err)
				}
			}
		}
		s.Annotations = nil
		must(t, r.Service(s))
		eventually(t, "B is served again", func() error { return r.hasReals(t, 2) })
	})
	t.Run("of its node port", func(t *testing.T) {
		open := r.holdOn(t, nodePort, r.all()...)
		moved := overTCPAndSCTP("web", nodePort+1, nil)
		must(t, r.Service(moved))
		eventually(t, "the old port takes nothing new", func() error { return r.closed(t, nodePort, r.all()...) })
		r.holdOn(t, nodePort+1, r.all()...).close(t)
		r.givenUp(t, open, nodePort, r.all()...)
	})
}

// eachOf is nil if a node port has n virtual servers that all pass.
func (r *rig) eachOf(t *testing.T, port uint16, n int, pass func(ipvs.Entry) error) error {
	t.Helper()
	for k, entry := range r.table(t) {
		if k.Port != port {
			continue
		}
		n--
		if err := pass(entry); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	if n != 0 {
		return fmt.Errorf("%d virtual servers are missing", n)
	}
	return nil
}

// closed is nil if nothing new gets to a port on these addresses.
func (r *rig) closed(t *testing.T, port uint16, addrs ...netip.Addr) error {
	t.Helper()
	table := r.table(t)
	for _, addr := range addrs {
		for _, p := range []frontend.Protocol{frontend.TCP, frontend.SCTP} {
			for real, s := range table[frontend.NewKey(addr, p, port)].Reals {
				if s.Weight > 0 {
					return fmt.Errorf("%s of %s %s has weight %d", real, p, addr, s.Weight)
				}
			}
		}
	}
	return nil
}

// givenUp requires of a port that is no longer served on these addresses: what is open lives for longer than a moment, nothing
// new gets in, and all is gone with the last connection.
func (r *rig) givenUp(t *testing.T, open held, port uint16, addrs ...netip.Addr) {
	t.Helper()
	holds(t, longerThanSettle, "what has a connection stays", func() error {
		table := r.table(t)
		for _, addr := range addrs {
			for _, p := range []frontend.Protocol{frontend.TCP, frontend.SCTP} {
				if len(table[frontend.NewKey(addr, p, port)].Reals) == 0 {
					return fmt.Errorf("%s %s has no real server", p, addr)
				}
			}
		}
		return nil
	})
	open.live(t)
	for _, addr := range addrs {
		r.refused(t, topo.TCP, netip.AddrPortFrom(addr, port))
		if a, err := topo.Ask(t.Context(), r.Client, topo.SCTP, netip.AddrPortFrom(addr, port)); err == nil {
			t.Errorf("%s answers over SCTP on %s", a.Pod, addr)
		}
	}
	open.close(t)
	eventually(t, "nothing is left", func() error {
		table := r.table(t)
		for _, addr := range addrs {
			for _, p := range []frontend.Protocol{frontend.TCP, frontend.SCTP} {
				k := frontend.NewKey(addr, p, port)
				if _, there := table[k]; there {
					return fmt.Errorf("%s is there", k)
				}
			}
		}
		return nil
	})
}

// A Service's own drain-timeout cuts its connections, when it is over and not before, and nobody else's.
func TestTheDrainTimeoutOfAServiceCutsItsConnectionsAlone(t *testing.T) {
	const limit = 6 * time.Second
	r := newRig(t, topo.WithSCTP())
	short := overTCPAndSCTP("short", nodePort, map[string]string{"kube-ipvs.io/drain-timeout": limit.String()})
	long := overTCPAndSCTP("long", nodePort+1, nil)
	for _, s := range []agent.Service{short, long} {
		r.serve(t, s, r.ready(r.web1))
	}
	r.start(t, bothNetworks, "--drain-timeout=10m")
	cut, stays := r.holdOn(t, nodePort, r.all()...), r.holdOn(t, nodePort+1, r.all()...)
	begin := time.Now()
	for _, s := range []agent.Service{short, long} {
		must(t, r.Endpoints(s, []agent.Endpoint{r.ready(r.web2)}))
	}
	gone := func(port uint16) func() error {
		return func() error {
			return r.eachOf(t, port, 8, func(e ipvs.Entry) error {
				if len(e.Reals) != 1 {
					return fmt.Errorf("%d real servers", len(e.Reals))
				}
				return nil
			})
		}
	}
	holds(t, limit-time.Since(begin)-time.Second, "no connection is cut before", func() error {
		return r.eachOf(t, nodePort, 8, func(e ipvs.Entry) error {
			if _, v4 := e.Reals[dst(r.web1, r.Node1.A4)]; v4 {
				return nil
			}
			if _, v6 := e.Reals[dst(r.web1, r.Node1.A6)]; v6 {
				return nil
			}
			return fmt.Errorf("web-1 went after %s", since(begin))
		})
	})
	eventually(t, "the connections are cut", gone(nodePort))
	t.Logf("they were cut after %s", since(begin))
	if took := since(begin); took < limit {
		t.Errorf("they were cut after %s, before %s", took, limit)
	}
	for c := range cut {
		must(t, c.SetDeadline(time.Now().Add(time.Second)))
		if a, err := topo.AskOn(c); err == nil {
			t.Errorf("the connection to %s is answered by %s", c.RemoteAddr(), a.Pod)
		}
	}
	stays.live(t)
	stays.close(t)
	eventually(t, "the other's last connection is closed", gone(nodePort+1))
}

// A client that is remembered goes elsewhere when its pod is gone, while what it has open there lives on.
func TestAffinityDoesNotHoldAClientAtAPodThatIsGone(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	s := sticky("sticky", nodePort, nil)
	s.Ports = append(s.Ports, agent.Port{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP})
	r.serve(t, s, r.both()...)
	r.start(t, bothNetworks)
	for _, protocol := range []string{topo.TCP, topo.UDP, topo.SCTP} {
		for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.A6} {
			must(t, r.Endpoints(s, r.both()))
			eventually(t, "both pods are used", func() error { return r.uses(t, protocol, addr, 2) })
			ask := func() (net.Conn, string) {
				c, err := r.Client.Dial(t.Context(), protocol, at(addr))
				must(t, err)
				t.Cleanup(func() { _ = c.Close() })
				return c, askOn(t, c)
			}
			open, pod := ask()
			for range 3 {
				c, again := ask()
				must(t, c.Close())
				if again != pod {
					t.Errorf("%s to %s: %s answers after %s", protocol, addr, again, pod)
				}
			}
			stays := r.leave(t, s, pod)
			eventually(t, pod+" is used no more", func() error { return r.uses(t, protocol, addr, 1) })
			for range 3 {
				if c, now := ask(); now != stays.Name {
					t.Errorf("%s to %s: %s answers, which is gone", protocol, addr, now)
				} else {
					must(t, c.Close())
				}
			}
			if protocol != topo.UDP { // its flows leave a pod that is gone
				if got := askOn(t, open); got != pod {
					t.Errorf("%s to %s: the open connection is answered by %s, not %s", strings.ToUpper(protocol), addr, got, pod)
				}
			}
			must(t, open.Close())
		}
	}
}
