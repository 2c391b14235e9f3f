//go:build kernel

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Node ports of the Services beside web.
const (
	internalPort = 30081
	externalPort = 30082
	widePort     = 30083
	nowherePort  = 30084
)

// tcpAndUDP are the ports of a Service on one node port.
func tcpAndUDP(port int32) []agent.Port {
	return []agent.Port{{Name: "tcp", NodePort: port}, {Name: "udp", NodePort: port, Protocol: corev1.ProtocolUDP}}
}

// annotated is a Service on TCP and UDP with annotations of ours, in pairs of a name without prefix and a value.
func annotated(name string, port int32, pairs ...string) agent.Service {
	s := agent.Service{Name: name, Ports: tcpAndUDP(port), Annotations: map[string]string{}}
	for pair := range slices.Chunk(pairs, 2) {
		s.Annotations["kube-ipvs.io/"+pair[0]] = pair[1]
	}
	return s
}

// Addresses of node 1 on the client's networks, and one that --nodeport-addresses does not choose.
func (r *rig) onA() []netip.Addr { return []netip.Addr{r.Node1.A4, r.Node1.A6} }
func (r *rig) onB() []netip.Addr { return []netip.Addr{r.Node1.B4, r.Node1.B6} }
func (r *rig) all() []netip.Addr { return slices.Concat(r.onA(), r.onB()) }
func unchosen() (v4, v6 netip.Addr) {
	return netip.MustParseAddr("10.9.0.10"), netip.MustParseAddr("fd09::10")
}

// awaitServing returns when a node port takes new connections on exactly these addresses.
func (r *rig) awaitServing(t *testing.T, port uint16, on ...netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("port %d is served on %v", port, on), func() error {
		table, err := agent.Table(t.Context(), r.Node1)
		if err != nil {
			return err
		}
		missing := slices.Clone(on)
		for k, entry := range table {
			if k.Port != port || !takesNew(entry) {
				continue
			}
			if !slices.Contains(on, k.Addr) {
				return fmt.Errorf("%s is served", k)
			}
			missing = slices.DeleteFunc(missing, func(addr netip.Addr) bool { return addr == k.Addr })
		}
		if len(missing) > 0 {
			return fmt.Errorf("it is not on %v:\n%s", missing, table)
		}
		return nil
	})
}

func takesNew(entry ipvs.Entry) bool {
	for _, real := range entry.Reals {
		if real.Weight > 0 {
			return true
		}
	}
	return false
}

// openOn requires that a node port is answered on these of the node's addresses and closed on its others, whoever asks:
// refused at once, as a port where nobody listens.
func (r *rig) openOn(t *testing.T, port uint16, on ...netip.Addr) {
	t.Helper()
	v4, v6 := unchosen()
	for _, from := range []*topo.Host{r.Client, r.Node1, r.web1.Host} {
		for _, addr := range append(r.all(), v4, v6) {
			for _, protocol := range []string{topo.TCP, topo.UDP} {
				to := netip.AddrPortFrom(addr, port)
				if !slices.Contains(on, addr) {
					r.refusedFrom(t, from, protocol, to)
				} else if _, err := topo.Ask(t.Context(), from, protocol, to); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestAServiceIsServedOnTheNetworksOfItsChoiceAndNoOther(t *testing.T) {
	r := newRig(t)
	v4, v6 := unchosen()
	// The kernel limits how often it tells a client that a UDP port is closed, and here it is told many times.
	must(t, r.Node1.Sysctl("net/ipv4/icmp_ratelimit", "0"))
	must(t, r.Node1.Sysctl("net/ipv6/icmp/ratelimit", "0"))
	for addr, via := range map[netip.Addr]netip.Addr{v4: r.Node1.A4, v6: r.Node1.A6} {
		must(t, r.Node1.AddVirtualAddress(topo.DevA, addr)) // no connection begins from it, a masqueraded one neither
		must(t, r.Client.AddRoute(netip.PrefixFrom(addr, addr.BitLen()), via))
	}
	r.serve(t, annotated("web", nodePort), r.both()...)
	r.serve(t, annotated("internal", internalPort, "networks", "internal"), r.both()...)
	r.serve(t, annotated("external", externalPort, "networks", "iface:netb*"), r.both()...)
	r.serve(t, annotated("wide", widePort, "networks", "all,iface:net*,10.9.0.0/24,fd09::/64"), r.both()...)
	r.serve(t, annotated("nowhere", nowherePort, "networks", "10.9.0.0/24,fd09::/64,elsewhere"), r.both()...)
	r.start(t, bothNetworks, "--network=internal=10.1.0.0/24,fd01::/64")

	t.Run("by a name of the operator", func(t *testing.T) { r.openOn(t, internalPort, r.onA()...) })
	t.Run("by interface", func(t *testing.T) { r.openOn(t, externalPort, r.onB()...) })
	t.Run("on all without the annotation", func(t *testing.T) { r.openOn(t, nodePort, r.all()...) })
	t.Run("never beyond --nodeport-addresses", func(t *testing.T) {
		r.openOn(t, widePort, r.all()...)
		r.openOn(t, nowherePort)
	})
	t.Run("a network that is given up drains, one that stays is not touched", r.testNetworkGivenUp)
	t.Run("a value that cannot be read closes the Service and no other", r.testUnreadableNetworks)
}

// talk is an open connection and who answers on it.
type talk struct {
	net.Conn
	pod string
}

func (r *rig) talks(t *testing.T, port uint16, to []netip.Addr) []talk {
	t.Helper()
	var all []talk
	for _, addr := range to {
		c, pod := r.dial(t, netip.AddrPortFrom(addr, port))
		all = append(all, talk{c, pod})
	}
	return all
}

// goOn requires that the connections are answered by who answered before.
func goOn(t *testing.T, talks []talk) {
	t.Helper()
	for _, c := range talks {
		if pod := askOn(t, c); pod != c.pod {
			t.Errorf("%s answers the connection of %s to %s", pod, c.pod, c.RemoteAddr())
		}
	}
}

func hangUp(t *testing.T, talks []talk) {
	t.Helper()
	for _, c := range talks {
		must(t, c.Close())
	}
}

// awaitGone returns when no virtual server of a node port is left on these addresses.
func (r *rig) awaitGone(t *testing.T, port uint16, on []netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("nothing of port %d is left on %v", port, on), func() error {
		for k := range r.table(t) {
			if k.Port == port && slices.Contains(on, k.Addr) {
				return fmt.Errorf("%s is there", k)
			}
		}
		return nil
	})
}

func (r *rig) testNetworkGivenUp(t *testing.T) {
	onA, onB := r.talks(t, nodePort, r.onA()), r.talks(t, nodePort, r.onB())
	must(t, r.Service(annotated("web", nodePort, "networks", "internal")))
	r.awaitServing(t, nodePort, r.onA()...)
	r.openOn(t, nodePort, r.onA()...)
	goOn(t, onA)
	goOn(t, onB)
	hangUp(t, onB)
	r.awaitGone(t, nodePort, r.onB())
	goOn(t, onA)

	must(t, r.Service(annotated("web", nodePort, "networks", "10.2.0.0/24,fd02::/64")))
	r.awaitServing(t, nodePort, r.onB()...)
	r.openOn(t, nodePort, r.onB()...)
	goOn(t, onA)
	hangUp(t, onA)
	r.awaitGone(t, nodePort, r.onA())
}

func (r *rig) testUnreadableNetworks(t *testing.T) {
	load := r.load(t, netip.AddrPortFrom(r.Node1.B4, externalPort))
	awaitAnswers(t, load)
	must(t, r.Service(annotated("web", nodePort, "networks", "internal,10.1.0.0/99")))
	r.complaint(t, "Service default/web", "no node port of the Service is served until it is mended")
	r.awaitServing(t, nodePort)
	r.openOn(t, nodePort)
	awaitAnswers(t, load)
	must(t, r.Service(annotated("web", nodePort)))
	r.awaitServing(t, nodePort, r.all()...)
	r.openOn(t, nodePort, r.all()...)
	awaitAnswers(t, load)
	noFailure(t, load)
}
