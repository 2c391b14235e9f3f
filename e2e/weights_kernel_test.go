//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// zoned are web-1 and web-2, each in a zone of its own.
func (r *rig) zoned() []agent.Endpoint {
	both := r.both()
	both[0].Zone, both[1].Zone = "one", "two"
	return both
}

// awaitWeights returns when the two pods have these weights under a node port on all addresses; -1 is that it is not there.
func (r *rig) awaitWeights(t *testing.T, port uint16, web1, web2 int) {
	t.Helper()
	eventually(t, fmt.Sprintf("web-1 has weight %d and web-2 %d", web1, web2), func() error {
		table, err := agent.Table(t.Context(), r.Node1)
		if err != nil {
			return err
		}
		seen := 0
		for k, entry := range table {
			if k.Port != port {
				continue
			}
			seen++
			for pod, want := range map[*topo.Pod]int{r.web1: web1, r.web2: web2} {
				have := -1
				if real, there := entry.Reals[dst(pod, k.Addr)]; there {
					have = int(real.Weight)
				}
				if have != want {
					return fmt.Errorf("%s has %d under %s", pod.Name, have, k)
				}
			}
		}
		if seen == 0 {
			return errors.New("the port is not served")
		}
		return nil
	})
}

// shares requires that of new connections so many go to each of the two pods.
func (r *rig) shares(t *testing.T, port uint16, web1, web2 int) {
	t.Helper()
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		for _, addr := range r.onA() {
			pods := r.newConnections(t, protocol, netip.AddrPortFrom(addr, port), web1+web2)
			if pods["web-1"] != web1 || pods["web-2"] != web2 {
				t.Errorf("%s to %s: %v, want %d and %d", protocol, addr, pods, web1, web2)
			}
		}
	}
}

// newConnections counts who answers so many of them. A datagram from a port that the client had before, which the kernel gives
// it again by chance, belongs to the flow of then: each has a port of its own here.
func (r *rig) newConnections(t *testing.T, protocol string, to netip.AddrPort, n int) map[string]int {
	t.Helper()
	pods := map[string]int{}
	for range n {
		from := netip.AddrPort{}
		if protocol == topo.UDP {
			r.lastPort++
			from = netip.AddrPortFrom(r.clientAt(to.Addr()), 10000+r.lastPort)
		}
		a, err := topo.AskAs(t.Context(), r.Client, from, protocol, to)
		must(t, err)
		pods[a.Pod]++
	}
	return pods
}

// A maintenance has no deadline, unlike the departure of an endpoint: the agent of this test would cut that after a second.
func TestWeightsShareConnectionsAndZeroIsMaintenance(t *testing.T) {
	r := newRig(t)
	must(t, r.LabelledNode(r.Node1, map[string]string{"disk": "ssd"}))
	must(t, r.LabelledNode(r.Node2, nil))
	r.serve(t, annotated("web", nodePort, "scheduler", "wrr", "weights", "zone:one=1,zone:two=3"), r.zoned()...)
	r.serve(t, annotated("limited", internalPort, "scheduler", "fo", "weights", "node:node1=9", "upper-threshold", "2", "lower-threshold", "1"), r.both()...)
	r.start(t, bothNetworks, "--drain-timeout=1s")

	t.Run("by zone", func(t *testing.T) { r.shares(t, nodePort, 6, 18) })
	t.Run("by label of a node", func(t *testing.T) {
		must(t, r.Service(annotated("web", nodePort, "scheduler", "wrr", "weights", "label:disk=ssd=4,label:disk=2,*=1")))
		r.awaitWeights(t, nodePort, 4, 1)
		r.shares(t, nodePort, 16, 4)
		must(t, r.LabelledNode(r.Node2, map[string]string{"disk": "hdd"}))
		r.awaitWeights(t, nodePort, 4, 2)
		r.shares(t, nodePort, 12, 6)
	})
	t.Run("0 is maintenance", r.testMaintenance)
	t.Run("thresholds", r.testThresholds)
	t.Run("slow start", r.testSlowStart)
}

func (r *rig) testMaintenance(t *testing.T) {
	var talks []talk
	for _, addr := range r.all() {
		talks = append(talks, r.talks(t, nodePort, []netip.Addr{addr, addr, addr})...) // 2:1, so that each pod has one
	}
	must(t, r.Service(annotated("web", nodePort, "scheduler", "wrr", "weights", "node:node1=0")))
	r.awaitWeights(t, nodePort, 0, 1)
	r.shares(t, nodePort, 0, 4)
	holds(t, longerThanSettle, "what is in maintenance stays", func() error {
		weights, err := r.weights(t.Context(), key(r.Node1.A6, frontend.TCP))
		if weight, there := weights[dst(r.web1, r.Node1.A6)]; err == nil && (!there || weight != 0) {
			err = fmt.Errorf("the weights are %v", weights)
		}
		return err
	})
	goOn(t, talks)

	must(t, r.Service(annotated("web", nodePort, "weights", "*=0")))
	r.awaitWeights(t, nodePort, 0, 0)
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		for _, addr := range r.all() {
			r.refused(t, protocol, at(addr))
		}
	}
	goOn(t, talks)

	must(t, r.Service(annotated("web", nodePort)))
	r.awaitWeights(t, nodePort, 1, 1)
	r.shares(t, nodePort, 2, 2)
	goOn(t, talks)
	if pods := podsOf(talks); len(pods) != 2 {
		t.Errorf("only %v had a connection", pods)
	}
	hangUp(t, talks)
}

func podsOf(talks []talk) []string {
	pods := map[string]bool{}
	for _, c := range talks {
		pods[c.pod] = true
	}
	return slices.Sorted(maps.Keys(pods))
}

// testThresholds opens connections to a Service with an upper threshold of 2 and a lower one of 1, whose scheduler
// takes the endpoint with the largest weight that takes connections: web-1.
func (r *rig) testThresholds(t *testing.T) {
	first, second := map[netip.Addr][]talk{}, map[netip.Addr][]talk{}
	for _, addr := range r.onA() {
		first[addr] = r.talks(t, internalPort, []netip.Addr{addr, addr})
		second[addr] = r.talks(t, internalPort, []netip.Addr{addr, addr})
		if one, two := podsOf(first[addr]), podsOf(second[addr]); !slices.Equal(one, []string{"web-1"}) || !slices.Equal(two, []string{"web-2"}) {
			t.Fatalf("%s: the first two connections went to %v, the other two to %v", addr, one, two)
		}
		r.refused(t, topo.TCP, netip.AddrPortFrom(addr, internalPort))
		goOn(t, slices.Concat(first[addr], second[addr]))
		resetAll(t, first[addr])
	}
	begin := time.Now()
	for _, addr := range r.onA() {
		eventually(t, "web-1 takes connections again", func() error {
			a, err := topo.Ask(t.Context(), r.Client, topo.TCP, netip.AddrPortFrom(addr, internalPort))
			if err == nil && a.Pod != "web-1" {
				err = fmt.Errorf("%s answered", a.Pod)
			}
			return err
		})
		t.Logf("%s: %s after its connections were reset, web-1 took a new one", addr, since(begin))
		goOn(t, second[addr])
		resetAll(t, second[addr])
	}
}

// resetAll ends connections without a trace that counts for long: the kernel forgets one that was reset after 10 s.
func resetAll(t *testing.T, talks []talk) {
	t.Helper()
	for _, c := range talks {
		must(t, c.Conn.(interface{ SetLinger(int) error }).SetLinger(0))
	}
	hangUp(t, talks)
}

// slowly is how long a new endpoint of the tests rises.
const slowly = 5 * time.Second

func (r *rig) testSlowStart(t *testing.T) {
	s := annotated("rising", externalPort, "scheduler", "wrr", "slow-start", slowly.String(), "weights", "*=3")
	r.serve(t, s, r.both()[:1]...)
	r.awaitWeights(t, externalPort, 30, -1) // alone it has its whole weight at once
	load := r.load(t, netip.AddrPortFrom(r.Node1.A4, externalPort))
	awaitAnswers(t, load)
	k := frontend.NewKey(r.Node1.A4, frontend.TCP, externalPort)
	begin := time.Now()
	must(t, r.Endpoints(s, r.both()))
	var seen []uint32
	eventually(t, "web-2 has its whole weight", func() error {
		weights, err := r.weights(t.Context(), k)
		if err != nil {
			return err
		}
		if weight := weights[dst(r.web1, k.Addr)]; weight != 30 {
			t.Errorf("web-1 has weight %d meanwhile", weight)
		}
		weight, there := weights[dst(r.web2, k.Addr)]
		if there && (len(seen) == 0 || seen[len(seen)-1] != weight) {
			seen = append(seen, weight)
		}
		if weight < 30 {
			return fmt.Errorf("the weights were %v", seen)
		}
		return nil
	})
	took := since(begin)
	t.Logf("the weights were %v, the last one after %s", seen, took)
	if !slices.IsSorted(seen) || len(seen) < 5 || seen[0] > 6 {
		t.Errorf("the weights were %v, want steps of 3 up to 30", seen)
	}
	if least := slowly * 9 / 10; took < least {
		t.Errorf("the way up took %s, less than %s", took, least)
	}
	awaitAnswers(t, load)
	noFailure(t, load)
}
