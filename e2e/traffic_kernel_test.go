//go:build kernel

package e2e

import (
	"maps"
	"net"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

func TestANodePortIsServedOnTheChosenAddressesAndNowhereElse(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	other4, other6 := netip.MustParsePrefix("10.2.0.99/24"), netip.MustParsePrefix("fd02::99/64")
	must(t, r.Node1.AddAddress(topo.DevB, other4))
	must(t, r.Node1.AddAddress(topo.DevB, other6))
	all := agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort},
		{Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
		{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP},
	}}
	r.serve(t, all, r.both()...)
	local := all
	local.Name, local.Policy = "local", corev1.ServiceExternalTrafficPolicyLocal
	local.Ports = []agent.Port{
		{Name: "tcp", NodePort: nodePort + 1},
		{Name: "udp", NodePort: nodePort + 1, Protocol: corev1.ProtocolUDP},
	}
	r.serve(t, local, r.both()...)
	sticky := all
	sticky.Name, sticky.Affinity = "sticky", corev1.ServiceAffinityClientIP
	sticky.Ports = []agent.Port{
		{Name: "tcp", NodePort: nodePort + 2},
		{Name: "udp", NodePort: nodePort + 2, Protocol: corev1.ProtocolUDP},
	}
	r.serve(t, sticky, r.both()...)
	r.start(t, "--nodeport-addresses=10.1.0.0/24,10.2.0.10/32,fd01::/64,fd02::10/128")

	t.Run("each address spreads evenly over a local and a remote pod, masqueraded", r.testSpread)
	t.Run("an address that is not chosen reaches no pod and keeps its host's own processes", func(t *testing.T) {
		r.testNotChosen(t, other4.Addr(), other6.Addr())
	})
	t.Run("session affinity keeps a client with one pod", r.testAffinity)
	t.Run("policy Local reaches the node's own pod, which sees the client", r.testLocal)
}

func (r *rig) testSpread(t *testing.T) {
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6} {
		// The address of the route out: to its own pods the node's bridge, to those of node 2 network A.
		bridge, network := r.Node1.PodCIDRs[0].Addr().Next(), r.Node1.A4
		if addr.Is6() {
			bridge, network = r.Node1.PodCIDRs[1].Addr().Next(), r.Node1.A6
		}
		clients := map[netip.Addr]int{bridge: 10, network: 10}
		for _, protocol := range []string{topo.TCP, topo.UDP, topo.SCTP} {
			tally := topo.Count(t.Context(), r.Client, protocol, at(addr), 20)
			if tally.Pods["web-1"] != 10 || tally.Pods["web-2"] != 10 || len(tally.Failures) > 0 {
				t.Errorf("%s to %s: %v, want 10 and 10", protocol, addr, tally)
			}
			if !maps.Equal(tally.Clients, clients) {
				t.Errorf("%s to %s: the pods saw the clients %v, want %v", protocol, addr, tally.Clients, clients)
			}
		}
	}
}

func (r *rig) testAffinity(t *testing.T) {
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.A6} {
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			tally := topo.Count(t.Context(), r.Client, protocol, netip.AddrPortFrom(addr, nodePort+2), 10)
			if len(tally.Pods) != 1 || tally.Answers() != 10 {
				t.Errorf("%s to %s: %v, want all ten from one pod", protocol, addr, tally)
			}
		}
	}
}

func (r *rig) testNotChosen(t *testing.T, addrs ...netip.Addr) {
	for _, addr := range addrs {
		client := r.Client.B4
		if addr.Is6() {
			client = r.Client.B6
		}
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			r.refused(t, protocol, at(addr))
			own := r.listen(t, protocol, addr)
			a, err := topo.Ask(t.Context(), r.Client, protocol, at(addr))
			if want := (topo.Answer{Pod: "host", Client: client}); err != nil || a != want {
				t.Errorf("%s to the node's own process at %s: %v %v, want %v", protocol, addr, a, err, want)
			}
			chosen := map[bool]netip.Addr{true: r.Node1.B4, false: r.Node1.B6}[addr.Is4()]
			if a, err := topo.Ask(t.Context(), r.Client, protocol, at(chosen)); err != nil || a.Pod == "host" {
				t.Errorf("%s to %s beside the node's own process: %v %v, want a pod", protocol, chosen, a, err)
			}
			own()
		}
	}
}

// listen starts a process of node 1 on the node port: of all its addresses over TCP, and of one over UDP, where the socket
// of all addresses would answer from the first. It answers as pods do, by the name of host.
func (r *rig) listen(t *testing.T, protocol string, addr netip.Addr) (stop func()) {
	t.Helper()
	var config net.ListenConfig
	var tcp net.Listener
	var udp net.PacketConn
	must(t, r.Node1.Do(func() (err error) {
		if protocol == topo.UDP {
			udp, err = config.ListenPacket(t.Context(), "udp", at(addr).String())
			return err
		}
		tcp, err = config.Listen(t.Context(), "tcp", at(netip.IPv6Unspecified()).String())
		return err
	}))
	if udp != nil {
		go func() {
			buf := make([]byte, 512)
			for {
				_, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(hostAnswer(from), from)
			}
		}()
		return func() { _ = udp.Close() }
	}
	go func() {
		buf := make([]byte, 512)
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(buf)
			_, _ = c.Write(hostAnswer(c.RemoteAddr()))
			_ = c.Close()
		}
	}()
	return func() { _ = tcp.Close() }
}

func hostAnswer(client net.Addr) []byte {
	addr := netip.MustParseAddrPort(client.String()).Addr().Unmap()
	return []byte("host " + addr.String() + "\n")
}

func (r *rig) testLocal(t *testing.T) {
	for addr, client := range map[netip.Addr]netip.Addr{
		r.Node1.A4: r.Client.A4, r.Node1.B4: r.Client.B4, r.Node1.A6: r.Client.A6, r.Node1.B6: r.Client.B6,
	} {
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			tally := topo.Count(t.Context(), r.Client, protocol, netip.AddrPortFrom(addr, nodePort+1), 10)
			if tally.Pods["web-1"] != 10 || tally.Clients[client] != 10 {
				t.Errorf("%s to %s: %v, the pods saw %v; want 10 answers of web-1, which saw %s", protocol, addr, tally, tally.Clients, client)
			}
		}
	}
}
