//go:build kernel

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Whatever the order of changes and crashes, the kernel ends up with what plan says of the manifests.
func TestAfterAnyChangesAndCrashesTheKernelIsAsPlanned(t *testing.T) {
	const changes = 300
	r := newRig(t)
	r.start(t, bothNetworks)
	w := &writer{rig: r, random: rand.New(rand.NewPCG(2026, 11)), services: map[string]agent.Service{}}
	for i := range changes {
		w.change(t)
		switch {
		case i%(changes/2) == changes/4: // twice, in the midst of changes
			r.kill(t)
		case i%(changes/2) == changes/4+5:
			r.start(t, bothNetworks)
		case r.running() && w.random.IntN(4) == 0:
			w.pause(t)
		}
	}
	w.settle(t)
	table, rules := r.plan(t)
	if len(table) == 0 {
		t.Fatal("nothing is planned")
	}
	eventually(t, "the kernel is as planned", func() error { return r.isAsBefore(t, table, rules) })
	t.Logf("%d virtual servers are as planned", len(table))
}

// running reports whether the agent has not ended.
func (r *rig) running() bool {
	select {
	case <-r.agent.Ended():
		return false
	default:
		return true
	}
}

// writer makes random changes of the manifests.
type writer struct {
	*rig
	random   *rand.Rand
	services map[string]agent.Service // as last written
}

func (w *writer) change(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("s%d", w.random.IntN(8))
	s, there := w.services[name]
	switch n := w.random.IntN(10); {
	case !there || n < 3:
		s = w.service(name)
		w.services[name] = s
		must(t, w.Service(s))
	case n == 3:
		delete(w.services, name)
		must(t, w.Remove(s))
	default:
		must(t, w.Endpoints(s, w.endpoints(true)))
	}
}

// service has node ports that others may claim too.
func (w *writer) service(name string) agent.Service {
	s := agent.Service{Name: name, Created: time.Unix(1_700_000_000+w.random.Int64N(4), 0)}
	for i := range 1 + w.random.IntN(3) {
		protocols := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
		s.Ports = append(s.Ports, agent.Port{
			Name: fmt.Sprintf("p%d", i), Protocol: protocols[w.random.IntN(3)],
			NodePort: nodePort + w.random.Int32N(6), Target: 8080 + w.random.Int32N(2),
		})
	}
	if w.random.IntN(3) == 0 {
		s.Policy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if names := []string{"", "rr", "wlc", "sh", "mh", "dh", "sed", "nq", "nonsense"}; w.random.IntN(2) == 0 {
		s.Annotations = map[string]string{"kube-ipvs.io/scheduler": names[w.random.IntN(len(names))]}
	}
	return s
}

func (w *writer) endpoints(terminating bool) []agent.Endpoint {
	var endpoints []agent.Endpoint
	for i := range 6 {
		e := agent.Endpoint{
			Addrs: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.244.1.%d", 200+i)), netip.MustParseAddr(fmt.Sprintf("fd44:1::%x", 200+i))},
			Node:  fmt.Sprintf("node%d", 1+i%2),
		}
		switch w.random.IntN(5) {
		case 0, 1:
			e.Ready, e.Serving = true, true
		case 2:
			if !terminating {
				continue
			}
			e.Serving, e.Terminating = true, true
		case 3: // not ready
		default:
			continue
		}
		endpoints = append(endpoints, e)
	}
	return endpoints
}

// settle ends the termination of all endpoints: the kernel may keep those at weight 0 for as long as it takes, and the
// plan does not have them.
func (w *writer) settle(t *testing.T) {
	t.Helper()
	for _, s := range w.services {
		must(t, w.Endpoints(s, w.endpoints(false)))
	}
}

// pause lets the agent see a change before the next one comes, if it concerns it at all.
func (w *writer) pause(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	seen := len(w.agent.Log())
	_ = agent.Eventually(ctx, "a line in the log", func() error {
		if len(w.agent.Log()) == seen {
			return errors.New("none")
		}
		return nil
	})
}

// plan is what `kube-ipvs plan` says of the manifests.
func (r *rig) plan(t *testing.T) (ipvs.Table, filter.Rules) {
	t.Helper()
	table, err := ipvs.ParseSave(strings.NewReader(r.planAs(t, "ipvsadm")))
	must(t, err)
	var planned struct {
		ServicePorts []struct {
			NodePort  uint16
			Protocol  string
			Frontends []struct {
				Address          string
				Served, Internal bool
				Masquerade       string
			}
		}
	}
	must(t, json.Unmarshal([]byte(r.planAs(t, "json")), &planned))
	rules := filter.Rules{
		Owned: filter.NewSet(table.Keys()...), Masquerade: map[frontend.Key]filter.Masquerade{}, Internal: filter.Set{},
		Pods: filter.NormalPrefixes(r.Node1.PodCIDRs),
	}
	for _, p := range planned.ServicePorts {
		for _, f := range p.Frontends {
			protocol, err := frontend.ParseProtocol(p.Protocol)
			must(t, err)
			if !f.Served {
				continue
			}
			k := frontend.NewKey(netip.MustParseAddr(f.Address), protocol, p.NodePort)
			for _, m := range []filter.Masquerade{filter.MasqueradePods, filter.MasqueradeRemote, filter.MasqueradeAll} {
				if m.String() == f.Masquerade {
					rules.Masquerade[k] = m
				}
			}
			if f.Internal {
				rules.Internal[k] = struct{}{}
			}
		}
	}
	return table, rules
}

func (r *rig) planAs(t *testing.T, format string) string {
	t.Helper()
	addresses := fmt.Sprintf("neta=%s/24,neta=%s/64,netb=%s/24,netb=%s/64", r.Node1.A4, r.Node1.A6, r.Node1.B4, r.Node1.B6)
	out, err := r.Node1.Command(t.Context(), "kube-ipvs", "plan", "--manifests", r.Dir, "--node-name", "node1",
		"--node-addresses", addresses, bothNetworks, "-o", format).Output()
	// 2: some Services claim ports that others hold.
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 2) {
		t.Fatalf("plan: %v\n%s", err, out)
	}
	return string(out)
}
