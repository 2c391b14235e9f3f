//go:build kernel

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const fqdnSlice = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-fqdn, labels: {kubernetes.io/service-name: web}}
addressType: FQDN
endpoints: [{addresses: [pod.example.org]}]
ports: [{port: 8080}]
`

// problems counts all that the agent complains about.
func (r *rig) problems(t *testing.T) (n float64) {
	t.Helper()
	all, err := r.agent.Metrics(t.Context())
	must(t, err)
	seen := false
	for name, value := range all {
		if strings.HasPrefix(name, "kube_ipvs_problems{") {
			n, seen = n+value, true
		}
	}
	if !seen {
		t.Fatal("no metric kube_ipvs_problems")
	}
	return n
}

// complaint returns when the log has a problem of an object whose name begins like this and whose message contains text.
func (r *rig) complaint(t *testing.T, object, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a problem %q of %s in the log", text, object), func() error {
		for line := range strings.Lines(r.agent.Log()) {
			if strings.Contains(line, `"Problem" object="`+object) && strings.Contains(line, text) {
				return nil
			}
		}
		return fmt.Errorf("it is not in the log:\n%s", r.agent.Log())
	})
}

func (r *rig) testBadObjects(t *testing.T) {
	mapped := agent.Endpoint{Addrs: []netip.Addr{netip.MustParseAddr("::ffff:10.244.1.2")}, Node: "node1", Ready: true, Serving: true}
	cases := []struct {
		service   agent.Service
		endpoints []agent.Endpoint
		object    string
		message   string
		// served is how many real servers the node port of the Service has nevertheless; -1: it is not served.
		served int
	}{
		{agent.Service{Name: "high", Ports: port(65536)}, r.both(), "Service default/high", "node port 65536 is outside 1-65535", -1},
		{agent.Service{Name: "low", Ports: port(-1)}, r.both(), "Service default/low", "node port -1 is outside 1-65535", -1},
		{
			agent.Service{Name: "target", Ports: []agent.Port{{NodePort: 30100, Target: 65536}}},
			r.both(),
			"EndpointSlice default/target-ipv6", "number 65536 is outside 1-65535", 0,
		},
		{
			agent.Service{Name: "protocol", Ports: []agent.Port{{NodePort: 30101, Protocol: "ICMP"}}},
			r.both(),
			"Service default/protocol", "node port 30101 is not served", -1,
		},
		{
			agent.Service{Name: "scheduler", Ports: port(30102), Annotations: map[string]string{"kube-ipvs.io/scheduler": "fastest"}},
			r.both(),
			"Service default/scheduler", "is not one of those allowed", 2,
		},
		{
			agent.Service{Name: "mapped", Ports: port(30103)},
			append(r.both(), mapped),
			"EndpointSlice default/mapped-ipv6", "is an IPv4-mapped IPv6 address", 2,
		},
		{
			agent.Service{Name: "duplicate", Ports: port(nodePort), Created: time.Now()},
			r.both()[:1],
			"Service default/duplicate", "belongs to Service default/web, which counts as the oldest", 2,
		},
	}
	for _, c := range cases {
		r.serve(t, c.service, c.endpoints...)
	}
	must(t, r.Write("zero.yaml", `{apiVersion: v1, kind: Service, metadata: {name: zero}, spec: {type: NodePort, ports: [{port: 0, nodePort: 30104}]}}`))
	r.complaint(t, "Service default/zero", "port 0 is outside 1-65535")
	for _, c := range cases {
		r.complaint(t, c.object, c.message)
	}
	eventually(t, "all is served that can be, and nothing else", func() error { // what is wrong is told before the rest is done
		table := r.table(t)
		for _, c := range cases {
			entry, served := table[frontend.NewKey(r.Node1.A6, frontend.TCP, uint16(c.service.Ports[0].NodePort))]
			if served != (c.served >= 0) || served && len(entry.Reals) != c.served {
				return fmt.Errorf("the node port of %s has %d real servers (served: %v), want %d", c.service.Name, len(entry.Reals), served, c.served)
			}
		}
		return nil
	})
	r.served(t)
	for _, c := range cases {
		must(t, r.Remove(c.service))
	}
	must(t, os.Remove(filepath.Join(r.Dir, "zero.yaml")))
	r.awaitNoProblem(t)
	r.served(t)
}

func (r *rig) awaitNoProblem(t *testing.T) {
	t.Helper()
	eventually(t, "no problem is left", func() error {
		if n := r.problems(t); n != 0 {
			return fmt.Errorf("there are %v", n)
		}
		return nil
	})
}

func port(n int32) []agent.Port { return []agent.Port{{NodePort: n}} }

// missingScheduler is one that no kernel has. The agent allows all of Linux's, and a kernel may lack some of those: Debian's 6.1
// has no twos, its 6.12 has.
const missingScheduler = "missing"

func (r *rig) testMissingScheduler(t *testing.T) {
	s := agent.Service{
		Name: "scheduled", Annotations: map[string]string{"kube-ipvs.io/scheduler": missingScheduler},
		Ports: []agent.Port{{Name: "tcp", NodePort: 30101}, {Name: "udp", NodePort: 30101, Protocol: corev1.ProtocolUDP}},
	}
	r.serve(t, s, r.both()...)
	r.complaint(t, "Service default/scheduled", "served with scheduler rr")
	if n := r.metric(t, `kube_ipvs_problems{reason="kernel-refused"}`); n == 0 {
		t.Error("the refusal is not counted")
	}
	eventually(t, "it is served", func() error { // what is wrong is told before it is done otherwise
		return r.eachOf(t, 30101, 2*len(r.all()), func(e ipvs.Entry) error {
			if e.Scheduler != "rr" || len(e.Reals) != 2 {
				return fmt.Errorf("%s with %d real servers", e.Scheduler, len(e.Reals))
			}
			return nil
		})
	})
	for _, protocol := range []string{topo.TCP, topo.UDP} {
		to := netip.AddrPortFrom(r.Node1.B4, 30101)
		if tally := topo.Count(t.Context(), r.Client, protocol, to, 4); tally.Pods["web-1"] != 2 || tally.Pods["web-2"] != 2 {
			t.Errorf("%s: %v, want 2 and 2", protocol, tally)
		}
	}
	must(t, r.hasReals(t, 2))
	r.remove(t, s)
}

// remove removes a Service and waits until the kernel has nothing of it.
func (r *rig) remove(t *testing.T, s agent.Service) {
	t.Helper()
	must(t, r.Remove(s))
	eventually(t, "the Service is gone", func() error {
		for k := range r.table(t) {
			if int32(k.Port) == s.Ports[0].NodePort {
				return fmt.Errorf("%s is there", k)
			}
		}
		return nil
	})
}

func (r *rig) testBrokenManifest(t *testing.T) {
	slice := "endpointslice-default-web-ipv4.yaml"
	for _, file := range []string{web().File(), slice} {
		must(t, r.Write(file, "apiVersion: v1\nkind: [Service\n"))
		r.complaint(t, file, "what the file said before stays in force")
		holds(t, 2*time.Second, "the Service is served", func() error { return r.hasReals(t, 2) })
		r.served(t)
		if file == slice {
			r.testOthersAreFollowed(t)
		}
		r.serve(t, web(), r.both()...)
	}
}

// testOthersAreFollowed requires that a Service in other files is served.
func (r *rig) testOthersAreFollowed(t *testing.T) {
	s := agent.Service{Name: "meanwhile", Ports: []agent.Port{{NodePort: 30102}}}
	r.serve(t, s, r.both()...)
	eventually(t, "another Service is served", func() error {
		_, err := topo.Ask(t.Context(), r.Client, topo.TCP, netip.AddrPortFrom(r.Node1.A4, 30102))
		return err
	})
	r.remove(t, s)
}

func (r *rig) testBrokenAtTheStart(t *testing.T) {
	want := r.table(t).Only(r.keys(frontend.TCP))
	r.kill(t)
	must(t, r.Write(web().File(), "kind: [Service\n"))
	r.start(t, bothNetworks, oftenAudited)
	r.complaint(t, web().File(), "")
	r.awaitPasses(t, 2)
	if now := r.table(t).Only(r.keys(frontend.TCP)); !now.Equal(want) {
		t.Errorf("the kernel has\n%s\nwant as before\n%s", now, want)
	}
	r.served(t)
	must(t, r.Service(web()))
	r.awaitNoProblem(t)
}

// keys are the frontends of the node port on the chosen addresses.
func (r *rig) keys(p frontend.Protocol) []frontend.Key {
	return []frontend.Key{key(r.Node1.A4, p), key(r.Node1.B4, p), key(r.Node1.A6, p), key(r.Node1.B6, p)}
}
