//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// portHashed is the node port of a Service whose clients are told apart by their ports.
const portHashed = 30085

// hashClients is how many clients a test of mh has, half of them of each family.
const hashClients = 100

func TestSchedulersAreChosenPerServiceAndAChangeCostsNothing(t *testing.T) {
	r := newRig(t)
	third := r.pod(t, r.Node1, "web-3")
	three := append(r.both(), agent.Ready(third, r.Node1))
	mh := annotated("hashed", nodePort, "scheduler", "mh")
	mhPort := annotated("port-hashed", portHashed, "scheduler", "mh", "scheduler-flags", "mh-port")
	r.serve(t, mh, three...)
	r.serve(t, mhPort, three...)
	r.serve(t, agent.Service{Name: "plain", Ports: tcpAndUDP(internalPort)}, r.both()...)
	routed := agent.Service{Name: "routed", Ports: tcpAndUDP(externalPort), Annotations: map[string]string{
		"kube-router.io/service.scheduler": "mh", "kube-router.io/service.schedflags": "flag-1,flag-2",
	}}
	r.serve(t, routed, r.both()...)
	r.start(t, bothNetworks, "--allowed-schedulers=rr,wrr,lc,mh,nosuch", "--ipvs-udp-timeout=1s")

	t.Run("kube-router's annotations", func(t *testing.T) {
		r.awaitScheduler(t, externalPort, "mh", ipvs.Sched1|ipvs.Sched2)
		routed.Annotations["kube-ipvs.io/scheduler"] = "lc"
		must(t, r.Service(routed))
		r.awaitScheduler(t, externalPort, "lc", 0)
	})
	t.Run("flags change under load", func(t *testing.T) { r.testFlagsUnderLoad(t, mhPort) })
	t.Run("mh keeps clients on their servers when another one leaves", func(t *testing.T) {
		r.testHash(t, mh, third, r.askAllAddresses)
	})
	t.Run("mh-port keeps ports on their servers when another one leaves", func(t *testing.T) {
		r.testHash(t, mhPort, third, r.askAllPorts)
	})
	t.Run("one that the kernel has not", r.testNoSuchScheduler)
}

// awaitScheduler returns when all virtual servers of a node port have this scheduler and these flags of it.
func (r *rig) awaitScheduler(t *testing.T, port uint16, scheduler string, flags ipvs.Flags) {
	t.Helper()
	eventually(t, fmt.Sprintf("port %d has scheduler %s", port, scheduler), func() error {
		table, err := agent.Table(t.Context(), r.Node1)
		seen := 0
		for k, entry := range table {
			if k.Port != port {
				continue
			}
			seen++
			if entry.Scheduler != scheduler || entry.Flags&(ipvs.Sched1|ipvs.Sched2|ipvs.Sched3) != flags {
				return fmt.Errorf("%s has %s, flags %#x", k, entry.Scheduler, entry.Flags)
			}
		}
		if err == nil && seen == 0 {
			err = errors.New("it is not served")
		}
		return err
	})
}

func (r *rig) testFlagsUnderLoad(t *testing.T, s agent.Service) {
	const changes = 6
	load := r.load(t, netip.AddrPortFrom(r.Node1.A6, portHashed))
	for i := range changes {
		flags, want := "mh-port,mh-no-fallback", ipvs.Sched2
		if i%2 == 1 {
			flags, want = "mh-port", ipvs.Sched1|ipvs.Sched2
		}
		must(t, r.Service(annotated(s.Name, portHashed, "scheduler", "mh", "scheduler-flags", flags)))
		r.awaitScheduler(t, portHashed, "mh", want)
		awaitAnswers(t, load)
	}
	noFailure(t, load)
}

// placement is which pod answers which client.
type placement map[netip.AddrPort]string

func (p placement) moved(to placement, gone string) (stayed, moved int) {
	for client, pod := range p {
		switch {
		case pod == gone:
		case to[client] == pod:
			stayed++
		default:
			moved++
		}
	}
	return stayed, moved
}

func (p placement) pods() map[string]int {
	pods := map[string]int{}
	for _, pod := range p {
		pods[pod]++
	}
	return pods
}

// testHash takes web-3 away: first in maintenance, where nobody else's client moves, then for good, where hardly one does.
func (r *rig) testHash(t *testing.T, s agent.Service, third *topo.Pod, ask func(*testing.T) placement) {
	before := ask(t)
	for pod, n := range before.pods() {
		if n < hashClients/10 {
			t.Errorf("%s has %d of %d clients: %v", pod, n, hashClients, before.pods())
		}
	}
	if again := ask(t); len(before) != hashClients || !mapsEqual(before, again) {
		t.Fatalf("of %d clients some go elsewhere the second time", len(before))
	}
	three := append(r.both(), agent.Ready(third, r.Node1))

	s.Annotations["kube-ipvs.io/weights"] = "node:node2=0"
	must(t, r.Service(s))
	r.awaitWeights(t, uint16(s.Ports[0].NodePort), 1, 0)
	during := ask(t)
	if stayed, moved := before.moved(during, "web-2"); moved > 0 || during.pods()["web-2"] > 0 {
		t.Errorf("maintenance: %d clients of the others stayed, %d moved: %v, then %v", stayed, moved, before.pods(), during.pods())
	}
	delete(s.Annotations, "kube-ipvs.io/weights")
	must(t, r.Service(s))
	r.awaitWeights(t, uint16(s.Ports[0].NodePort), 1, 1)
	if back := ask(t); !mapsEqual(before, back) {
		t.Errorf("after the maintenance: %v, before %v", back.pods(), before.pods())
	}

	must(t, r.Endpoints(s, []agent.Endpoint{three[0], three[2]}))
	r.awaitWeights(t, uint16(s.Ports[0].NodePort), 1, -1)
	after := ask(t)
	stayed, moved := before.moved(after, "web-2")
	t.Logf("deletion: %d clients of the others stayed, %d moved; %v, then %v", stayed, moved, before.pods(), after.pods())
	if moved > stayed/10 {
		t.Errorf("deletion: %d clients of the others stayed, %d moved", stayed, moved)
	}
}

func mapsEqual(a, b placement) bool {
	stayed, moved := a.moved(b, "")
	return moved == 0 && stayed == len(b)
}

// askAllAddresses asks once from each of many addresses of the client, which it adds if they are not there.
func (r *rig) askAllAddresses(t *testing.T) placement {
	t.Helper()
	p := placement{}
	for i := range hashClients / 2 {
		for to, from := range map[netip.Addr]netip.Prefix{
			r.Node1.A4: netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", 100+i)),
			r.Node1.A6: netip.MustParsePrefix(fmt.Sprintf("fd01::%x/64", 0x100+7*i)),
		} {
			_ = r.Client.AddAddress(topo.DevA, from) // there already, the second time
			client := netip.AddrPortFrom(from.Addr(), 0)
			p[client] = r.askFrom(t, topo.TCP, from.Addr(), from.Addr(), at(to))
		}
	}
	return p
}

// askAllPorts asks once from each of many ports of the client, once the kernel has forgotten the last time.
func (r *rig) askAllPorts(t *testing.T) placement {
	t.Helper()
	eventually(t, "all flows are forgotten", func() error { return r.noFlow(portHashed) })
	p := placement{}
	for i := range uint16(hashClients / 2) {
		for to, from := range map[netip.Addr]netip.Addr{r.Node1.A4: r.Client.A4, r.Node1.A6: r.Client.A6} {
			client := netip.AddrPortFrom(from, 20000+37*i)
			a, err := topo.AskAs(t.Context(), r.Client, client, topo.UDP, netip.AddrPortFrom(to, portHashed))
			must(t, err)
			p[client] = a.Pod
		}
	}
	return p
}

// noFlow is an error while the kernel has a UDP flow to a node port.
func (r *rig) noFlow(port uint16) error {
	list, err := r.connections()
	for line := range strings.Lines(list) {
		// Pro FromIP FPrt ToIP TPrt ..., the numbers in hexadecimal.
		words := strings.Fields(line)
		if len(words) > 4 && words[0] == "UDP" && words[4] == fmt.Sprintf("%04X", port) {
			return fmt.Errorf("still there: %s", strings.TrimSpace(line))
		}
	}
	return err
}

// connections is the kernel's list of IPVS connections, read twice: the kernel gives it page by page and counts its way to
// where it left off (net/netfilter/ipvs/ip_vs_conn.c), so a list misses an entry whenever one before it goes meanwhile.
func (r *rig) connections() (string, error) {
	once, err := r.proc("ip_vs_conn")
	again, errAgain := r.proc("ip_vs_conn")
	return once + again, errors.Join(err, errAgain)
}

// proc reads a file of node 1 below /proc/net.
func (r *rig) proc(name string) (string, error) { return procOf(r.Node1, name) }

func procOf(host *topo.Host, name string) (string, error) {
	var text []byte
	err := host.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/" + name)
		return err
	})
	return string(text), err
}

// The kernel has no nosuch, and the agent is allowed to ask for it.
func (r *rig) testNoSuchScheduler(t *testing.T) {
	load := r.load(t, netip.AddrPortFrom(r.Node1.B4, internalPort))
	awaitAnswers(t, load)
	must(t, r.Service(annotated("plain", internalPort, "scheduler", "nosuch")))
	r.complaint(t, "Service default/plain", `this node's kernel has no scheduler \"nosuch\"`)
	if n := r.metric(t, `kube_ipvs_problems{reason="kernel-refused"}`); n == 0 {
		t.Error("the refusal is not counted")
	}
	r.awaitScheduler(t, internalPort, "rr", 0)
	r.shares(t, internalPort, 2, 2)
	awaitAnswers(t, load)
	must(t, r.Service(annotated("plain", internalPort, "scheduler", "nosuch", "weights", "node:node1=0")))
	r.awaitWeights(t, internalPort, 0, 1) // it is still followed
	awaitAnswers(t, load)
	must(t, r.Service(annotated("plain", internalPort)))
	r.awaitWeights(t, internalPort, 1, 1)
	awaitAnswers(t, load)
	noFailure(t, load)
}
