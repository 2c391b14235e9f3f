//go:build kernel

package topo_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const nodePort = 30080

func newTopology(t *testing.T) *topo.Topology {
	t.Helper()
	start := time.Now()
	n, err := topo.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the network took %v", time.Since(start).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func addPod(t *testing.T, n *topo.Topology, node *topo.Host, name string, options ...topo.PodOption) *topo.Pod {
	t.Helper()
	start := time.Now()
	p, err := n.AddPod(t.Context(), node, name, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pod %s took %v", name, time.Since(start).Round(time.Millisecond))
	return p
}

func TestANodeReachesPodsOnBothNodes(t *testing.T) {
	n := newTopology(t)
	web1, web2 := addPod(t, n, n.Node1, "web-1", topo.WithSCTP()), addPod(t, n, n.Node2, "web-2", topo.WithSCTP())
	for _, pod := range []*topo.Pod{web1, web2} {
		for _, addr := range []netip.Addr{pod.Addr4, pod.Addr6} {
			for _, protocol := range []string{topo.TCP, topo.UDP, topo.SCTP, topo.HTTP} {
				start := time.Now()
				a, err := topo.Ask(t.Context(), n.Node1, protocol, netip.AddrPortFrom(addr, topo.Port))
				if err != nil {
					t.Error(err)
					continue
				}
				t.Logf("%s to %s took %v", protocol, addr, time.Since(start).Round(time.Microsecond))
				if a.Pod != pod.Name {
					t.Errorf("%s to %s reached %s", protocol, addr, a.Pod)
				}
				want := map[bool]netip.Addr{true: n.Node1.A4, false: n.Node1.A6}[addr.Is4()]
				if pod == web1 {
					want = n.Node1.PodCIDRs[map[bool]int{true: 0, false: 1}[addr.Is4()]].Addr().Next()
				}
				if a.Client != want {
					t.Errorf("%s to %s came from %s, want %s", protocol, addr, a.Client, want)
				}
			}
		}
	}
}

func TestAPodReachesAPodOnTheOtherNode(t *testing.T) {
	n := newTopology(t)
	web1, web2 := addPod(t, n, n.Node1, "web-1"), addPod(t, n, n.Node2, "web-2")
	a, err := topo.Ask(t.Context(), web1.Host, topo.TCP, netip.AddrPortFrom(web2.Addr6, topo.Port))
	if err != nil {
		t.Fatal(err)
	}
	if want := (topo.Answer{Pod: "web-2", Client: web1.Addr6}); a != want {
		t.Errorf("answer %v, want %v", a, want)
	}
}

func TestTheClientReachesNodesOnBothNetworksButNoPods(t *testing.T) {
	n := newTopology(t)
	pod := addPod(t, n, n.Node1, "web-1")
	if _, err := topo.Ask(t.Context(), n.Client, topo.TCP, netip.AddrPortFrom(pod.Addr4, topo.Port)); err == nil {
		t.Error("the client reached a pod")
	}
	for _, a := range []netip.Addr{n.Node1.A4, n.Node1.A6, n.Node1.B4, n.Node2.B6} {
		_, err := topo.Ask(t.Context(), n.Client, topo.TCP, netip.AddrPortFrom(a, nodePort))
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v, want it refused, for nothing listens", a, err)
		}
	}
}

func TestAnAddressThatIsAddedIsReachableAndGoneWhenRemoved(t *testing.T) {
	n := newTopology(t)
	p := netip.MustParsePrefix("10.1.0.77/24")
	to := netip.AddrPortFrom(p.Addr(), nodePort)
	if err := n.Node1.AddAddress(topo.DevA, p); err != nil {
		t.Fatal(err)
	}
	if _, err := topo.Ask(t.Context(), n.Client, topo.TCP, to); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want it refused", err)
	}
	if err := n.Node1.RemoveAddress(topo.DevA, p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := topo.Ask(ctx, n.Client, topo.TCP, to); err == nil || strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want no answer", err)
	}
}

func TestShutdownFinishesWhatItHasAndTakesNothingNew(t *testing.T) {
	n := newTopology(t)
	pod := addPod(t, n, n.Node1, "web-1")
	to := netip.AddrPortFrom(pod.Addr4, topo.Port)
	c, err := n.Node1.Dial(t.Context(), topo.TCP, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topo.AskOn(c); err != nil {
		t.Fatal(err)
	}
	down := make(chan error, 1)
	go func() { down <- pod.Shutdown(t.Context()) }()
	for deadline := time.Now().Add(5 * time.Second); ; {
		_, err := topo.Ask(t.Context(), n.Node1, topo.HTTP, to)
		if err != nil && strings.Contains(err.Error(), "refused") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still open: %v", err)
		}
	}
	if a, err := topo.AskOn(c); err != nil || a.Pod != "web-1" {
		t.Errorf("the old connection: %v %v", a, err)
	}
	select {
	case err := <-down:
		t.Fatalf("shutdown did not wait for the connection: %v", err)
	default:
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestCommandsRunInTheHost(t *testing.T) {
	n := newTopology(t)
	cmd := n.Node1.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet here {}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for host, want := range map[*topo.Host]bool{n.Node1: true, n.Node2: false} {
		out, err := host.Command(t.Context(), "nft", "list", "tables").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(out), "inet here"); got != want {
			t.Errorf("%s has the table: %v", host.Name, got)
		}
	}
}

// The network carries what this project is for: a node port that IPVS serves on both networks, with masquerade.
func TestTheNetworkCarriesANodePort(t *testing.T) {
	n := newTopology(t)
	web1, web2 := addPod(t, n, n.Node1, "web-1", topo.WithSCTP()), addPod(t, n, n.Node2, "web-2", topo.WithSCTP())
	serve(t, n, web1, web2)
	for _, addr := range []netip.Addr{n.Node1.A4, n.Node1.B4, n.Node1.A6, n.Node1.B6} {
		for _, protocol := range []string{topo.TCP, topo.UDP, topo.SCTP, topo.HTTP} {
			start := time.Now()
			tally := topo.Count(t.Context(), n.Client, protocol, netip.AddrPortFrom(addr, nodePort), 10)
			t.Logf("%s %s: %v, %v a request", protocol, addr, tally, (time.Since(start) / 10).Round(time.Microsecond))
			if tally.Pods["web-1"] != 5 || tally.Pods["web-2"] != 5 || len(tally.Failures) > 0 {
				t.Errorf("%s to %s: %v, want 5 and 5", protocol, addr, tally)
			}
		}
	}
	t.Run("from a pod beside the server and from the server itself", func(t *testing.T) {
		beside := addPod(t, n, n.Node1, "web-3")
		for _, from := range []*topo.Host{beside.Host, web1.Host, n.Node1} {
			tally := topo.Count(t.Context(), from, topo.TCP, netip.AddrPortFrom(n.Node1.A4, nodePort), 4)
			if tally.Pods["web-1"] != 2 || tally.Pods["web-2"] != 2 {
				t.Errorf("from %s: %v, want 2 and 2", from.Name, tally)
			}
		}
	})
	t.Run("under load", func(t *testing.T) {
		load := &topo.Load{From: n.Client, To: netip.AddrPortFrom(n.Node1.B4, nodePort), Workers: 4}
		load.Start(t.Context())
		for deadline := time.Now().Add(20 * time.Second); load.Tally().Answers() < 100 && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		if tally := load.Stop(); tally.Answers() < 100 || len(tally.Failures) > 0 {
			t.Errorf("%v", tally)
		} else {
			t.Log(tally)
		}
	})
}

// serve programs the node port with ipvsadm and nft: real servers are web1 and web2.
func serve(t *testing.T, n *topo.Topology, web1, web2 *topo.Pod) {
	t.Helper()
	var table strings.Builder
	for _, addr := range []netip.Addr{n.Node1.A4, n.Node1.B4, n.Node1.A6, n.Node1.B6} {
		at := netip.AddrPortFrom(addr, nodePort).String()
		for _, flag := range []string{"-t", "-u", "--sctp-service"} {
			table.WriteString("-A " + flag + " " + at + " -s rr\n")
			for _, pod := range []*topo.Pod{web1, web2} {
				to := pod.Addr4
				if addr.Is6() {
					to = pod.Addr6
				}
				table.WriteString("-a " + flag + " " + at + " -r " + netip.AddrPortFrom(to, topo.Port).String() + " -m\n")
			}
		}
	}
	run(t, n.Node1, table.String(), "ipvsadm", "-R")
	if err := n.Node1.Sysctl("net.ipv4.vs.conntrack", "1"); err != nil {
		t.Fatal(err)
	}
	run(t, n.Node1, `table inet demo {
	chain post { type nat hook postrouting priority 100;
		meta l4proto { tcp, udp, sctp } ct original proto-dst 30080 masquerade
	}
}
`, "nft", "-f", "-")
}

func run(t *testing.T, h *topo.Host, stdin, name string, args ...string) {
	t.Helper()
	cmd := h.Command(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
