//go:build kernel

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// everyScheduler are those of the kernel (net/netfilter/ipvs in 6.1) that choose among more than two real servers.
func everyScheduler() []string {
	return []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}
}

// departing is a Service of one scheduler and protocol with a connection to the pod that is about to leave.
type departing struct {
	agent.Service
	key       frontend.Key
	scheduler string
	conn      net.Conn
	leaves    *topo.Pod // it has the connection
	stays     *topo.Pod
}

func (d *departing) protocol() string { return strings.ToLower(string(d.Ports[0].Protocol)) }

// refusesAtZero: a real server of weight 0 is not passed over but refuses, so none is kept.
func (d *departing) refusesAtZero() bool { return d.scheduler == "dh" }

// A pod that terminates keeps its connections and gets no new one, one that is back gets its weight back, and one that is gone
// keeps its connections for as long as they last: under every scheduler, over every protocol, one family each in turn. UDP has
// no end of a connection, so its flows leave a pod that is gone; and dh knows no weight, so its real servers go at once.
func TestUnderEverySchedulerWhatDrainsGetsNothingNewAndKeepsWhatItHas(t *testing.T) {
	r := newRig(t, topo.WithSCTP())
	var all []*departing
	for i, scheduler := range everyScheduler() {
		for j, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
			port := nodePort + int32(3*i+j)
			p, err := frontend.ParseProtocol(string(protocol))
			must(t, err)
			addrs := r.all()
			all = append(all, &departing{
				scheduler: scheduler, key: frontend.NewKey(addrs[(i+j)%len(addrs)], p, uint16(port)),
				Service: agent.Service{
					Name:        fmt.Sprintf("%s-%s", scheduler, strings.ToLower(string(protocol))),
					Ports:       []agent.Port{{NodePort: port, Protocol: protocol}},
					Annotations: map[string]string{"kube-ipvs.io/scheduler": scheduler},
				},
			})
		}
	}
	for _, d := range all {
		r.serve(t, d.Service, r.both()...)
	}
	r.start(t, bothNetworks, "--allowed-schedulers="+strings.Join(everyScheduler(), ","))
	for _, d := range all {
		if got := r.table(t)[d.key].Scheduler; got != d.scheduler {
			t.Fatalf("%s has scheduler %q", d.key, got)
		}
		r.connect(t, d)
	}

	for _, d := range all {
		must(t, r.Endpoints(d.Service, []agent.Endpoint{r.terminating(d.leaves), r.ready(d.stays)}))
	}
	r.awaitDeparture(t, all, func(d *departing) int {
		if d.refusesAtZero() {
			return -1
		}
		return 0
	})
	r.nothingNew(t, all)
	r.stillAnswered(t, slices.DeleteFunc(slices.Clone(all), (*departing).refusesAtZero))

	for _, d := range all {
		must(t, r.Endpoints(d.Service, r.both()))
	}
	r.awaitDeparture(t, all, func(*departing) int { return 1 })
	for _, d := range all {
		if d.refusesAtZero() { // its connections were cut
			r.connect(t, d)
		}
	}
	r.stillAnswered(t, all)

	for _, d := range all {
		must(t, r.Endpoints(d.Service, []agent.Endpoint{r.ready(d.stays)}))
	}
	atOnce := func(d *departing) bool { return d.refusesAtZero() || d.key.Protocol == frontend.UDP }
	r.awaitDeparture(t, all, func(d *departing) int {
		if atOnce(d) {
			return -1
		}
		return 0
	})
	r.nothingNew(t, all)
	waiting := slices.DeleteFunc(slices.Clone(all), atOnce)
	holds(t, longerThanSettle, "what has a connection stays", func() error {
		return r.departed(t, waiting, func(*departing) int { return 0 })
	})
	r.stillAnswered(t, waiting)
	for _, d := range waiting {
		must(t, d.conn.Close())
	}
	r.awaitDeparture(t, all, func(*departing) int { return -1 })
	r.nothingNew(t, all)
}

// connect opens the connection of which the test is about, and learns which pod has it.
func (r *rig) connect(t *testing.T, d *departing) {
	t.Helper()
	c, err := r.Client.Dial(t.Context(), d.protocol(), d.key.AddrPort())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	d.conn, d.leaves, d.stays = c, r.web1, r.web2
	if askOn(t, c) == r.web2.Name {
		d.leaves, d.stays = r.web2, r.web1
	}
}

func (r *rig) nodeOf(pod *topo.Pod) *topo.Host {
	if pod == r.web1 {
		return r.Node1
	}
	return r.Node2
}

func (r *rig) ready(pod *topo.Pod) agent.Endpoint       { return agent.Ready(pod, r.nodeOf(pod)) }
func (r *rig) terminating(pod *topo.Pod) agent.Endpoint { return agent.Terminating(pod, r.nodeOf(pod)) }

// awaitDeparture returns when each pod that leaves has a weight, -1 for none, and each that stays is at 1.
func (r *rig) awaitDeparture(t *testing.T, all []*departing, weight func(*departing) int) {
	t.Helper()
	begin := time.Now()
	eventually(t, "the weights follow", func() error { return r.departed(t, all, weight) })
	t.Logf("the weights followed after %s", since(begin))
}

func (r *rig) departed(t *testing.T, all []*departing, weight func(*departing) int) error {
	table, err := agent.Table(t.Context(), r.Node1)
	if err != nil {
		return err
	}
	for _, d := range all {
		got := map[netip.AddrPort]int{dst(d.leaves, d.key.Addr): -1, dst(d.stays, d.key.Addr): -1}
		for addr, real := range table[d.key].Reals {
			got[addr] = int(real.Weight)
		}
		if got[dst(d.leaves, d.key.Addr)] != weight(d) || got[dst(d.stays, d.key.Addr)] != 1 {
			return fmt.Errorf("%s of %s: the weights are %v, %s leaves and should be at %d", d.key, d.Name, got, d.leaves.Name, weight(d))
		}
	}
	return nil
}

// nothingNew requires that new connections go to the pod that stays.
func (r *rig) nothingNew(t *testing.T, all []*departing) {
	t.Helper()
	for _, d := range all {
		if tally := topo.Count(t.Context(), r.Client, d.protocol(), d.key.AddrPort(), 4); tally.Pods[d.stays.Name] != 4 {
			t.Errorf("%s: %v, want 4 answers of %s", d.Name, tally, d.stays.Name)
		}
	}
}

// stillAnswered requires that the pods that leave answer on the connections that they had.
func (r *rig) stillAnswered(t *testing.T, all []*departing) {
	t.Helper()
	for _, d := range all {
		if got := askOn(t, d.conn); got != d.leaves.Name {
			t.Errorf("%s: the connection is answered by %s, not %s", d.Name, got, d.leaves.Name)
		}
	}
}
