package nodes

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// served is a client of nodes without a network.
func served(t *testing.T) (*Remote, string) {
	t.Helper()
	n := &Nodes{kubelet: newKubelet(nil, nil), network: &topo.Topology{
		Client: &topo.Host{Name: "client"}, Node1: &topo.Host{Name: Node1}, Node2: &topo.Host{Name: Node2},
	}}
	n.traffic = newTraffic(t.Context(), n.host)
	n.agents = newAgents(t.Context(), n.node, "")
	n.proxies = newProxies(t.Context(), n.node, "")
	s := httptest.NewServer(n.handler())
	t.Cleanup(s.Close)
	return &Remote{url: s.URL}, s.URL
}

func TestWhatCannotBeDoneIsAnErrorThatSaysWhy(t *testing.T) {
	r, _ := served(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"a place that is not there": {func() error { _, err := r.Ask(ctx, Question{From: "shop/web"}); return err }, "there is no shop/web"},
		"an agent elsewhere":        {func() error { return r.StartAgent(ctx, AgentOptions{Node: "node3"}) }, "there is no node3"},
		"an agent of the client":    {func() error { return r.StartAgent(ctx, AgentOptions{Node: Client}) }, "there is no client"},
		"no agent to stop":          {func() error { return r.StopAgent(ctx, Node1) }, "no agent runs on node1"},
		"no agent to kill":          {func() error { return r.KillAgent(ctx, Node1) }, "no agent runs on node1"},
		"no agent to measure":       {func() error { _, err := r.AgentMetrics(ctx, Node2); return err }, "no agent runs on node2"},
		"no kube-proxy to stop":     {func() error { return r.StopProxy(ctx, Node1) }, "no kube-proxy runs on node1"},
		"no command":                {func() error { _, err := r.Run(ctx, Command{Place: Node1}); return err }, "no command"},
		"no load":                   {func() error { _, err := r.StopLoad(ctx, 7); return err }, "there is no load 7"},
		"no connection":             {func() error { return r.Release(ctx, 7) }, "there is no connection 7"},
		"an address elsewhere":      {func() error { return r.AddAddress(ctx, Address{Node: "node3"}) }, "there is no node3"},
	} {
		if err := c.do(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if log, err := r.AgentLog(ctx, Node1); log != "" || err != nil {
		t.Errorf("the log of an agent that never ran is %q, %v", log, err)
	}
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	_, url := served(t)
	for body, want := range map[string]int{"{": http.StatusBadRequest, "{}": http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+pathHealth, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s is answered by %d, want %d", body, resp.StatusCode, want)
		}
	}
}

// QEMU accepts what is for a port of the guest before anybody listens there, and closes it.
func TestAClientWaitsForNodesThatDoNotListenYet(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			panic(http.ErrAbortHandler) // closes the connection
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(s.Close)
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	if _, err := Dial(t.Context(), at); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
	s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err := Dial(ctx, at); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody listens: %v", err)
	}
}
