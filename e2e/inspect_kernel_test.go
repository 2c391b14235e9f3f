//go:build kernel

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/report"
)

// What an operator asks first is answered from the kernel as it is, with an agent and without one.
func TestTheOperatorIsAnswered(t *testing.T) {
	r := newRig(t)
	r.addForeign(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, neverAudited, "--traffic-metrics=endpoints")
	r.served(t)
	t.Run("status says what is served and what is not ours", r.testStatus)
	t.Run("explain counts the connections of each endpoint", r.testExplain)
	t.Run("explain says of an address why nothing of ours is there", r.testExplainAddress)
	t.Run("traffic is counted for metrics, top and the page", r.testTraffic)
	t.Run("the log level changes while the agent runs", r.testLogLevel)
	t.Run("diff names what somebody else took away, as long as it is away", r.testDiff)
	r.kill(t)
	t.Run("without an agent the kernel is asked", r.testWithoutAgent)
}

// asks runs a command of the agent's binary on node 1.
func (r *rig) asks(t *testing.T, wantCode int, args ...string) string {
	t.Helper()
	out, code, err := agent.Run(t.Context(), r.Node1, args...)
	if err != nil || code != wantCode {
		t.Errorf("%v: %v, exit code %d, want %d", args, err, code, wantCode)
	}
	t.Logf("$ kube-ipvs %s\n%s", strings.Join(args, " "), out)
	return out
}

// says requires texts in an answer.
func says(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("it does not say %q:\n%s", text, out)
		}
	}
}

func (r *rig) testStatus(t *testing.T) {
	says(t, r.asks(t, 0, "status"), "on node node1: well, synced", "10.1.0.10 (neta)", "fd02::10 (netb)",
		"1 of 1 served: 4 virtual servers, 8 real servers, 0 of them draining", "not ours keep node ports open: 10.1.0.10:31999/tcp")
	says(t, r.asks(t, 0, "status", "-o", "wide"), "default/web", "served")
}

func (r *rig) testExplain(t *testing.T) {
	c, name := r.dial(t, at(r.Node1.A4))
	defer c.Close()
	pod := r.web1
	if name == r.web2.Name {
		pod = r.web2
	}
	var e report.Explanation
	must(t, json.Unmarshal([]byte(r.asks(t, 0, "explain", "service", "default/web", "-o", "json")), &e))
	if e.State != report.Served || len(e.Ports) != 1 || len(e.Ports[0].Frontends) != 4 || len(e.Ports[0].Endpoints) != 4 {
		t.Fatalf("explained is %+v", e)
	}
	for _, f := range e.Ports[0].Frontends {
		if !f.Served || !f.InKernel || len(f.Pending) > 0 || f.VirtualServer != f.Wanted {
			t.Errorf("%+v", f)
		}
	}
	for _, endpoint := range e.Ports[0].Endpoints {
		want := uint64(0)
		if endpoint.Address == dst(pod, r.Node1.A4).String() {
			want = 1
		}
		if endpoint.Active != want || endpoint.Weight != 1 || endpoint.Virtuals != 2 {
			t.Errorf("%d active connections, want %d: %+v", endpoint.Active, want, endpoint)
		}
	}
	says(t, r.asks(t, 0, "explain", "service", "web"), "Service default/web on node node1: served", "in use", "IN THE KERNEL")
	says(t, r.asks(t, 1, "explain", "service", "default/nobody"), "no Service default/nobody opens a port on nodes", "kubectl get service -n default nobody")
}

func (r *rig) testExplainAddress(t *testing.T) {
	says(t, r.asks(t, 0, "explain", "address", at(r.Node1.B6).String()), "Service default/web", "in use")
	says(t, r.asks(t, 2, "explain", "address", "10.1.0.10:31999"), "a virtual server that is not ours", "10.244.1.250:80", "What to do")
	says(t, r.asks(t, 2, "explain", "address", "10.1.0.10:30555"), "no Service claims the port on this address")
	says(t, r.asks(t, 2, "explain", "address", "10.9.9.9:30080"), "the node has no such address")
}

// settled is the value of a counter that has not moved for three seconds: the kernel brings its own up to date every two.
func (r *rig) settled(t *testing.T, name string) float64 {
	t.Helper()
	value := r.metric(t, name)
	for range 20 {
		time.Sleep(3 * time.Second)
		now := r.metric(t, name)
		if now == value {
			return now
		}
		value = now
	}
	t.Fatalf("%s does not settle", name)
	return 0
}

func (r *rig) testTraffic(t *testing.T) {
	const connections = `kube_ipvs_service_connections_total{namespace="default",port="30080",protocol="TCP",service="web"}`
	before := r.settled(t, connections)
	for range 6 {
		if tally := topo.Count(t.Context(), r.Client, topo.TCP, at(r.Node1.A4), 1); len(tally.Failures) > 0 {
			t.Fatalf("%+v", tally)
		}
	}
	eventually(t, "the connections are counted, and for each endpoint", func() error {
		all, err := r.agent.Metrics(t.Context())
		if err != nil {
			return err
		}
		ofEndpoints := 0.0
		for name, value := range all {
			if strings.HasPrefix(name, "kube_ipvs_endpoint_connections_total{") {
				ofEndpoints += value
			}
		}
		if all[connections] != before+6 || ofEndpoints != before+6 {
			return fmt.Errorf("%v connections, %v of endpoints, want %v", all[connections], ofEndpoints, before+6)
		}
		return nil
	})
	says(t, r.asks(t, 0, "top", "--once", "--endpoints", "default/web"), "default/web", dst(r.web1, r.Node1.A4).String())
	page, err := r.agent.Page(t.Context(), "/statusz/default/web")
	must(t, err)
	says(t, string(page), "<h1", "default/web", dst(r.web2, r.Node1.B6).String())
}

func (r *rig) testLogLevel(t *testing.T) {
	says(t, r.asks(t, 0, "log-level"), "0")
	r.asks(t, 0, "log-level", "4")
	must(t, r.Endpoints(web(), r.both()[:1]))
	eventually(t, "the log shows each operation", func() error {
		if !strings.Contains(r.agent.Log(), `"Done" operation=`) {
			return errors.New("it shows none")
		}
		return nil
	})
	r.asks(t, 0, "log-level", "0")
	must(t, r.Endpoints(web(), r.both()))
	eventually(t, "both endpoints are there again", func() error { return r.hasReals(t, 2) })
}

func (r *rig) testDiff(t *testing.T) {
	says(t, r.asks(t, 0, "diff"), "the kernel is as it should be, 4 virtual servers", "10.1.0.10:31999/tcp")
	gone := dst(r.web2, r.Node1.A4).String()
	r.run(t, "", "ipvsadm", "-d", "-t", at(r.Node1.A4).String(), "-r", gone)
	says(t, r.asks(t, 2, "diff"), "1 virtual server of 4 not as it should be", "10.1.0.10:30080/tcp  default/web", "add-real "+gone)
	says(t, r.asks(t, 0, "explain", "service", "default/web"), "10.1.0.10: pending: add-real "+gone)
}

func (r *rig) testWithoutAgent(t *testing.T) {
	says(t, r.asks(t, 2, "status"), "No agent answers", "4 virtual servers with 7 real servers")
	says(t, r.asks(t, 0, "explain", "address", at(r.Node1.A4).String()), "ours, and served by the kernel", dst(r.web1, r.Node1.A4).String())
	says(t, r.asks(t, 1, "explain", "service", "default/web"), "no agent answers", "--manifests")
	says(t, r.asks(t, 1, "diff"), "no agent answers", "--kubeconfig")
	flags := []string{
		"diff", "--manifests", r.Dir, "--node-name", "node1", bothNetworks, "--node-addresses",
		fmt.Sprintf("neta=%s/24,neta=%s/64,netb=%s/24,netb=%s/64", r.Node1.A4, r.Node1.A6, r.Node1.B4, r.Node1.B6),
	}
	says(t, r.asks(t, 2, flags...), "1 virtual server of 4 not as it should be", "add-real "+dst(r.web2, r.Node1.A4).String())
	r.start(t, bothNetworks)
	eventually(t, "the agent puts back what is missing", func() error {
		out, code, err := agent.Run(t.Context(), r.Node1, "diff")
		if err == nil && code != 0 {
			err = errors.New(out)
		}
		return err
	})
	if n := len(r.keys(frontend.TCP)); n != 4 {
		t.Errorf("%d frontends", n)
	}
}
