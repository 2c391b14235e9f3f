//go:build kernel

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestManyServicesAndManyEndpoints(t *testing.T) {
	const services = 1000
	r := newRig(t)
	r.serve(t, web(), r.both()[:1]...)
	must(t, r.Write("many.json", manyServices(services)))
	r.start(t, "--nodeport-addresses=10.1.0.10/32,10.2.0.10/32")
	if table := r.table(t); len(table) != 2*(services+1) {
		t.Fatalf("the kernel has %d virtual servers", len(table))
	}
	t.Run("a change beside a thousand Services costs no more than without them", r.testOneChange)
	t.Run("ten thousand endpoints of one Service are served", r.testManyEndpoints)
}

func (r *rig) testOneChange(t *testing.T) {
	kernel := r.handle(t)
	for _, change := range []struct {
		name       string
		endpoints  []agent.Endpoint
		operations int
	}{
		{"an endpoint comes", r.both(), 2}, // on two addresses
		{"an endpoint turns to terminating", []agent.Endpoint{r.both()[0], agent.Terminating(r.web2, r.Node2)}, 2},
		{"an endpoint is ready again", r.both(), 2},
	} {
		want := map[netip.AddrPort]uint32{}
		for _, e := range change.endpoints {
			want[dst(e.Pod, r.Node1.A4)] = map[bool]uint32{true: 1}[e.Ready]
		}
		before := r.operations(t)
		begin := time.Now()
		must(t, r.Endpoints(web(), change.endpoints))
		eventually(t, change.name, func() error { return hasWeights(t, kernel, key(r.Node1.B4, frontend.TCP), want) })
		t.Logf("%s: %s from the file to the kernel", change.name, since(begin))
		eventually(t, change.name+" is counted", func() error { // when the pass has ended
			if n := r.operations(t) - before; n != change.operations {
				return fmt.Errorf("%d operations, want %d", n, change.operations)
			}
			return nil
		})
	}
}

// hasWeights is nil if the virtual server has these real servers.
func hasWeights(t *testing.T, kernel ipvs.Handle, k frontend.Key, want map[netip.AddrPort]uint32) error {
	entry, _, err := kernel.Get(t.Context(), k)
	if err != nil {
		return err
	}
	if len(entry.Reals) != len(want) {
		return fmt.Errorf("there are %d real servers, want %d", len(entry.Reals), len(want))
	}
	for addr, weight := range want {
		if real, there := entry.Reals[addr]; !there || real.Weight != weight {
			return fmt.Errorf("%s is %s (there: %v), want weight %d", addr, real, there, weight)
		}
	}
	return nil
}

// handle is the kernel's table of node 1.
func (r *rig) handle(t *testing.T) (kernel ipvs.Handle) {
	t.Helper()
	must(t, r.Node1.Do(func() (err error) {
		kernel, err = ipvs.Open(ipvs.Options{})
		return err
	}))
	t.Cleanup(func() { _ = kernel.Close() })
	return kernel
}

func (r *rig) testManyEndpoints(t *testing.T) {
	const endpoints = 10_000
	var b strings.Builder
	writeService(&b, "wide", nodePort+1)
	for i := 0; i < endpoints; i += 1000 {
		var addrs []string
		for n := range 1000 {
			addrs = append(addrs, fmt.Sprintf("10.252.%d.%d", (i+n)/200, 1+(i+n)%200))
		}
		writeSlice(&b, "wide", i, addrs)
	}
	begin := time.Now()
	must(t, r.Write("wide.json", b.String()))
	kernel := r.handle(t)
	// To look costs the guest as much as to write does, which is why it is not done all the time; and on a busy machine both take a minute.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must(t, agent.Eventually(ctx, "the kernel has all real servers", func() error {
		time.Sleep(time.Second)
		entry, _, err := kernel.Get(t.Context(), frontend.NewKey(r.Node1.A4, frontend.TCP, nodePort+1))
		if err == nil && len(entry.Reals) != endpoints {
			err = fmt.Errorf("it has %d", len(entry.Reals))
		}
		return err
	}))
	t.Logf("%s from the file to the kernel", since(begin))
	if n := r.problems(t); n != 0 {
		t.Errorf("%v problems:\n%s", n, r.agent.Log())
	}
	if tally := topo.Count(t.Context(), r.Client, topo.TCP, at(r.Node1.B4), 4); tally.Pods["web-1"] != 2 || tally.Pods["web-2"] != 2 {
		t.Errorf("beside them: %v, want 2 and 2", tally)
	}
}

// manyServices are n Services with two endpoints each, on node ports from 30100.
func manyServices(n int) string {
	var b strings.Builder
	for i := range n {
		name := fmt.Sprintf("many-%d", i)
		writeService(&b, name, 30100+i)
		writeSlice(&b, name, 0, []string{fmt.Sprintf("10.250.%d.%d", i/200, 1+i%200), fmt.Sprintf("10.251.%d.%d", i/200, 1+i%200)})
	}
	return b.String()
}

func writeService(b *strings.Builder, name string, nodePort int) {
	fmt.Fprintf(b, `{"apiVersion":"v1","kind":"Service","metadata":{"name":%q},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":%d}]}}`+"\n",
		name, nodePort)
}

func writeSlice(b *strings.Builder, service string, number int, addrs []string) {
	fmt.Fprintf(b, `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"%s-%d","labels":{"kubernetes.io/service-name":%q}},`+
		`"addressType":"IPv4","ports":[{"name":"","port":8080,"protocol":"TCP"}],"endpoints":[`, service, number, service)
	for i, addr := range addrs {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `{"addresses":[%q],"conditions":{"ready":true}}`, addr)
	}
	b.WriteString("]}\n")
}
