//go:build kernel

package e2e

import (
	"cmp"
	"context"
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
)

// stickiness is the affinity timeout of the tests. A client is remembered for as long as a connection of its is, so this is
// more than a connection that was reset takes to be forgotten (10 s, net/netfilter/ipvs/ip_vs_proto_tcp.c).
const stickiness = 12 * time.Second

// sticky is a Service with session affinity on a node port of TCP and UDP.
func sticky(name string, port int32, annotations map[string]string) agent.Service {
	return agent.Service{
		Name: name, Annotations: annotations, Affinity: corev1.ServiceAffinityClientIP,
		Ports: []agent.Port{
			{Name: "tcp", NodePort: port},
			{Name: "udp", NodePort: port, Protocol: corev1.ProtocolUDP},
		},
	}
}

func TestAffinityLastsForItsTimeoutAndNoLonger(t *testing.T) {
	r := newRig(t)
	s := sticky("sticky", nodePort, nil)
	must(t, r.Endpoints(s, r.both()))
	must(t, r.Write(s.File(), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  type: NodePort
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: %d}}
  ports:
  - {name: tcp, port: %[2]d, nodePort: %[2]d}
  - {name: udp, port: %[2]d, nodePort: %[2]d, protocol: UDP}
`, int(stickiness.Seconds()), nodePort)))
	r.start(t, bothNetworks, "--ipvs-udp-timeout=1s")

	type visit struct {
		protocol string
		to       netip.Addr
	}
	before, last := map[visit]string{}, map[visit]time.Time{}
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		for _, to := range []netip.Addr{r.Node1.A4, r.Node1.A6} {
			v := visit{protocol, to}
			for range 3 {
				last[v] = time.Now()
				pod := r.askFrom(t, protocol, r.Client.A4, r.Client.A6, at(to))
				if before[v] != "" && pod != before[v] {
					t.Errorf("%s to %s: %s answered after %s", protocol, to, pod, before[v])
				}
				before[v] = pod
			}
		}
	}
	forgotten := map[visit]time.Time{}
	eventually(t, "all clients are forgotten", func() (left error) {
		for v := range before {
			err := r.forgotten(v.protocol, v.to)
			if _, was := forgotten[v]; err == nil && !was {
				forgotten[v] = time.Now()
			}
			left = cmp.Or(left, err)
		}
		return left
	})
	for v, pod := range before {
		if took := forgotten[v].Sub(last[v]); took < stickiness {
			t.Errorf("%s to %s: the client was forgotten %s after its last connection, less than %s", v.protocol, v.to, took, stickiness)
		}
		if now := r.askFrom(t, v.protocol, r.Client.A4, r.Client.A6, at(v.to)); now == pod {
			t.Errorf("%s to %s: %s answers although it is no longer its turn", v.protocol, v.to, now)
		}
	}
}

func TestClientsOfOnePrefixGoTogether(t *testing.T) {
	r := newRig(t)
	r.serve(t, sticky("grouped", nodePort, map[string]string{"kube-ipvs.io/affinity-prefix": "/25,/120"}), r.both()...)
	r.serve(t, sticky("single", nodePort+1, nil), r.both()...)
	near4, near6 := netip.MustParseAddr("10.1.0.3"), netip.MustParseAddr("fd01::3")
	far4, far6 := netip.MustParseAddr("10.1.0.200"), netip.MustParseAddr("fd01::200")
	for _, p := range []netip.Prefix{
		netip.PrefixFrom(near4, 24), netip.PrefixFrom(near6, 64), netip.PrefixFrom(far4, 24), netip.PrefixFrom(far6, 64),
	} {
		must(t, r.Client.AddAddress(topo.DevA, p))
	}
	r.start(t, bothNetworks)

	for _, protocol := range []string{topo.TCP, topo.UDP} {
		for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.A6} {
			to := at(addr)
			first := r.askFrom(t, protocol, r.Client.A4, r.Client.A6, to)
			for range 3 {
				if pod := r.askFrom(t, protocol, near4, near6, to); pod != first {
					t.Errorf("%s to %s: %s answers the neighbour, %s the client", protocol, to, pod, first)
				}
				if pod := r.askFrom(t, protocol, far4, far6, to); pod == first {
					t.Errorf("%s to %s: %s answers the client of another prefix out of its turn", protocol, to, pod)
				}
			}
			alone := netip.AddrPortFrom(addr, nodePort+1)
			if one, other := r.askFrom(t, protocol, r.Client.A4, r.Client.A6, alone), r.askFrom(t, protocol, near4, near6, alone); one == other {
				t.Errorf("%s to %s: %s answers both clients although each is by itself", protocol, alone, one)
			}
		}
	}
}

func TestAffinityDoesNotHoldAClientAtAPodThatLeaves(t *testing.T) {
	r := newRig(t)
	s := sticky("sticky", nodePort, nil)
	r.serve(t, s, r.both()...)
	r.start(t, bothNetworks)
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.A6} {
			must(t, r.Endpoints(s, r.both()))
			eventually(t, "both pods are used", func() error { return r.uses(t, protocol, addr, 2) })
			endpoints := r.both()
			leaves, stays := "web-1", "web-2"
			if r.askFrom(t, protocol, r.Client.A4, r.Client.A6, at(addr)) == "web-1" {
				endpoints[0] = agent.Terminating(r.web1, r.Node1)
			} else {
				endpoints[1], leaves, stays = agent.Terminating(r.web2, r.Node2), "web-2", "web-1"
			}
			must(t, r.Endpoints(s, endpoints))
			eventually(t, leaves+" is used no more", func() error { return r.uses(t, protocol, addr, 1) })
			for range 3 {
				if pod := r.askFrom(t, protocol, r.Client.A4, r.Client.A6, at(addr)); pod != stays {
					t.Errorf("%s to %s: %s answers, which terminates", protocol, addr, pod)
				}
			}
		}
	}
}

// askFrom sends one request from an address of the client, that of the family of to, on a connection that leaves no trace
// for long: TCP is reset. It returns who answered.
func (r *rig) askFrom(t *testing.T, protocol string, from4, from6 netip.Addr, to netip.AddrPort) string {
	t.Helper()
	from := from6
	if to.Addr().Is4() {
		from = from4
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	if protocol == topo.UDP {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	var c net.Conn
	must(t, r.Client.Do(func() (err error) {
		c, err = dialer.DialContext(ctx, protocol, to.String())
		return err
	}))
	pod := askOn(t, c)
	if c, is := c.(*net.TCPConn); is {
		must(t, c.SetLinger(0))
	}
	must(t, c.Close())
	return pod
}

// forgotten is an error while the kernel remembers which pod a client of the node port goes to: a connection from port 0
// in its list.
func (r *rig) forgotten(protocol string, addr netip.Addr) error {
	list, err := r.connections()
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		// Pro FromIP FPrt ToIP TPrt ..., the numbers in hexadecimal.
		words := strings.Fields(line)
		if len(words) < 5 || words[2] != "0000" || words[4] != fmt.Sprintf("%04X", nodePort) {
			continue
		}
		if strings.EqualFold(words[0], protocol) && strings.Contains(words[3], ":") == addr.Is6() {
			return fmt.Errorf("still there: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

// uses is nil if n real servers of the node port get new connections.
func (r *rig) uses(t *testing.T, protocol string, addr netip.Addr, n int) error {
	t.Helper()
	p, err := frontend.ParseProtocol(protocol)
	must(t, err)
	weights, err := r.weights(t.Context(), key(addr, p))
	if err != nil {
		return err
	}
	used := 0
	for _, weight := range weights {
		if weight > 0 {
			used++
		}
	}
	if used != n {
		return fmt.Errorf("%d of %v are used, want %d", used, weights, n)
	}
	return nil
}
