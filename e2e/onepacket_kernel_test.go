//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// syslog is a Service on UDP that sees its clients and keeps to the node.
func syslog(name string, port int32, annotations map[string]string) agent.Service {
	return agent.Service{
		Name: name, Annotations: annotations, Policy: corev1.ServiceExternalTrafficPolicyLocal,
		Ports: []agent.Port{{NodePort: port, Protocol: corev1.ProtocolUDP}},
	}
}

// countUDP counts the datagrams that a pod receives from now on.
func countUDP(t *testing.T, pod *topo.Pod) {
	t.Helper()
	cmd := pod.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`
add table inet heard
add counter inet heard datagrams
add chain inet heard in { type filter hook prerouting priority -300; }
add rule inet heard in meta l4proto udp counter name datagrams
`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func heardUDP(t *testing.T, pod *topo.Pod) int {
	t.Helper()
	out, err := pod.Command(t.Context(), "nft", "list", "counter", "inet", "heard", "datagrams").CombinedOutput()
	must(t, err)
	words := strings.Fields(string(out))
	i := slices.Index(words, "packets")
	if i < 0 {
		t.Fatalf("nft says\n%s", out)
	}
	n, err := strconv.Atoi(words[i+1])
	must(t, err)
	return n
}

// A sender that keeps its source port and waits for no answer, such as a router that logs.
func TestOnePacketSpreadsASenderOverThePodsOfTheNode(t *testing.T) {
	const datagrams = 40
	r := newRig(t)
	pods := []*topo.Pod{r.web1, r.pod(t, r.Node1, "web-3")}
	here := []agent.Endpoint{agent.Ready(pods[0], r.Node1), agent.Ready(pods[1], r.Node1)}
	r.serve(t, syslog("together", nodePort, nil), here...)
	r.serve(t, syslog("apart", nodePort+1, map[string]string{"kube-ipvs.io/one-packet": "true"}), here...)
	for _, pod := range pods {
		countUDP(t, pod)
	}
	r.start(t, bothNetworks)
	for _, to := range []netip.Addr{r.Node1.A4, r.Node1.A6} {
		for port, want := range map[uint16][]int{nodePort: {0, datagrams}, nodePort + 1: {datagrams / 2, datagrams / 2}} {
			before := []int{heardUDP(t, pods[0]), heardUDP(t, pods[1])}
			c, err := r.Client.Dial(t.Context(), topo.UDP, netip.AddrPortFrom(to, port))
			must(t, err)
			for i := range datagrams {
				_, err := fmt.Fprintf(c, "datagram %d", i)
				must(t, err)
			}
			var got []int
			eventually(t, "all datagrams arrive", func() error {
				got = []int{heardUDP(t, pods[0]) - before[0], heardUDP(t, pods[1]) - before[1]}
				if got[0]+got[1] < datagrams {
					return fmt.Errorf("%v of %d did", got, datagrams)
				}
				return nil
			})
			must(t, c.Close())
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("udp to %s: the pods heard %v, want %v", netip.AddrPortFrom(to, port), got, want)
			}
		}
	}
}
