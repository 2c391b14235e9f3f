package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// rules is our nftables table as a test wants it read.
type rules struct {
	filter.State
	err error
}

func (r rules) Read(context.Context) (filter.State, error) { return r.State, r.err }

// shop is a node that serves a Service on one of its two addresses and a second one not at all, with a kernel that has what
// should be there.
func shop(t *testing.T) (*inspector, *ipvsfake.Kernel, *rules) {
	t.Helper()
	s := sync.NewState(sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: state().NodePortRange})
	s.SetPlaces(nodeaddr.Places([]netip.Addr{netip.MustParseAddr("10.1.0.10")}, nil, nil, nil))
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	endpoint := sync.Endpoint{Addr: netip.MustParseAddrPort("10.244.1.1:8080"), Ready: true, Serving: true, Node: "node1", Target: "Pod shop/web-1"}
	for i, name := range []string{"web", "late"} {
		s.Update(sync.Update{Services: []sync.Service{{
			ID: sync.ServiceID{Namespace: "shop", Name: name}, UID: name, Families: sync.IPv4, Created: at.Add(time.Duration(i) * time.Hour),
			Ports: []sync.ServicePort{{Name: "http", Port: 80, NodePort: 30080, Protocol: frontend.TCP, Endpoints: []sync.Endpoint{endpoint}}},
		}}})
	}
	s.Resolve()
	kernel := ipvsfake.New()
	if result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, s.Table())); len(result.Failed) > 0 {
		t.Fatal(result.Failed)
	}
	ours := filter.Rules{Owned: filter.NewSet(s.Keys()...), Masquerade: map[frontend.Key]filter.Masquerade{s.Keys()[0]: filter.MasqueradeAll}}
	table := &rules{State: filter.State{Present: true, Intact: true, Rules: ours}}
	return &inspector{
		node: "node1", source: "manifests /etc/kube-ipvs",
		overview: func(context.Context) (*sync.Overview, error) {
			o := sync.NewOverview(s, []nodeaddr.Address{{Addr: netip.MustParseAddr("10.1.0.10"), Interface: "eth0"}}, []nodeaddr.Rejected{
				{Address: nodeaddr.Address{Addr: netip.MustParseAddr("10.2.0.10"), Interface: "eth1"}, Reason: "not selected by --nodeport-addresses"},
			})
			o.Time, o.Rules = at, ours.Clone()
			o.Health = sync.Health{Ready: true, Alive: true}
			o.Status = sync.Status{Synced: at.Add(-3 * time.Second), Frontends: 1, RealServers: 1, Foreign: []frontend.Key{frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30999)}}
			o.Counters = sync.Counters{Passes: 7, FailedPasses: 1, Drift: 2, Done: map[ipvs.Verb]uint64{ipvs.AddVirtual: 3}, Busy: 1500 * time.Millisecond}
			return o, nil
		},
		openKernel: func() (ipvs.Handle, error) { return kernel, nil },
		openTable:  func() (ruleReader, error) { return table, nil },
	}, kernel, table
}

// A command line with what the user sees of it stands in testdata/view/NAME.golden.
func TestWhatTheAgentIsAskedIsAnswered(t *testing.T) {
	for _, c := range []struct {
		name    string
		args    string
		prepare func(t *testing.T, k *ipvsfake.Kernel, table *rules)
	}{
		{name: "status", args: "status"},
		{name: "status_wide", args: "status -o wide"},
		{name: "status_json", args: "status -o json"},
		{name: "status_yaml", args: "status -o yaml"},
		{name: "explain_service", args: "explain service shop/web", prepare: connected},
		{name: "explain_service_yaml", args: "explain service shop/web -o yaml", prepare: connected},
		{name: "explain_service_conflict", args: "explain service shop/late -o wide"},
		{name: "explain_unknown_service", args: "explain service shop/nobody"},
		{name: "explain_address", args: "explain address 10.1.0.10:30080/tcp", prepare: connected},
		{name: "explain_address_json", args: "explain address 10.1.0.10:30080 -o json", prepare: connected},
		{name: "explain_address_not_chosen", args: "explain address 10.2.0.10:30080"},
		{name: "explain_address_of_nobody", args: "explain address 10.3.0.10:30080"},
		{name: "explain_port_of_nobody", args: "explain address 10.1.0.10:30081"},
		{name: "explain_foreign", args: "explain address 10.1.0.10:30999", prepare: foreign},
		{name: "diff_same", args: "diff"},
		{name: "diff", args: "diff", prepare: changed},
		{name: "diff_json", args: "diff -o json", prepare: changed},
		{name: "diff_without_table", args: "diff", prepare: func(_ *testing.T, _ *ipvsfake.Kernel, table *rules) { table.State = filter.State{} }},
		{name: "diff_table_unreadable", args: "diff", prepare: func(_ *testing.T, _ *ipvsfake.Kernel, table *rules) { table.err = errors.New("nft is not installed") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, kernel, table := shop(t)
			if c.prepare != nil {
				c.prepare(t, kernel, table)
			}
			socket := ownSocket(t)
			answering(t, socket, socketHandler(i))
			stdout, stderr, code := kubeIPVS(t, "", append(strings.Fields(c.args), "--agent-socket", socket)...)
			got := "$ kube-ipvs " + c.args + "\n" + stdout + "--- stderr\n" + stderr + "--- exit code " + string(rune('0'+code)) + "\n"
			compareGolden(t, filepath.Join("testdata/view", c.name+".golden"), got)
		})
	}
}

var served = frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)

func connected(_ *testing.T, k *ipvsfake.Kernel, _ *rules) {
	k.SetConnections(served, netip.MustParseAddrPort("10.244.1.1:8080"), ipvs.Connections{Active: 12, Inactive: 3})
}

func foreign(t *testing.T, k *ipvsfake.Kernel, _ *rules) {
	t.Helper()
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30999)
	mustDo(t, k, ipvs.Op{Verb: ipvs.AddVirtual, Key: key, Virtual: ipvs.VirtualServer{Scheduler: "wlc"}},
		ipvs.Op{Verb: ipvs.AddReal, Key: key, RealKey: netip.MustParseAddrPort("10.244.9.1:53"), Real: ipvs.RealServer{Weight: 5}})
}

// changed is the work of somebody else.
func changed(t *testing.T, k *ipvsfake.Kernel, table *rules) {
	t.Helper()
	foreign(t, k, table)
	mustDo(t, k, ipvs.Op{Verb: ipvs.DelReal, Key: served, RealKey: netip.MustParseAddrPort("10.244.1.1:8080")},
		ipvs.Op{Verb: ipvs.AddReal, Key: served, RealKey: netip.MustParseAddrPort("10.244.66.6:8080"), Real: ipvs.RealServer{Weight: 1}})
	table.Rules = filter.Rules{Owned: table.Rules.Owned, Masquerade: map[frontend.Key]filter.Masquerade{served: filter.MasqueradePods}}
	table.Intact, table.Stray = false, []string{"owned: x: not an element"}
}

func mustDo(t *testing.T, k *ipvsfake.Kernel, ops ...ipvs.Op) {
	t.Helper()
	if err := errors.Join(k.Do(t.Context(), ops)...); err != nil {
		t.Fatal(err)
	}
}

func TestJSONAndYAMLSayTheSame(t *testing.T) {
	i, _, _ := shop(t)
	socket := ownSocket(t)
	answering(t, socket, socketHandler(i))
	asJSON, _, _ := kubeIPVS(t, "", "explain", "service", "shop/web", "-o", "json", "--agent-socket", socket)
	asYAML, _, _ := kubeIPVS(t, "", "explain", "service", "shop/web", "-o", "yaml", "--agent-socket", socket)
	converted, err := yaml.YAMLToJSON([]byte(asYAML))
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(asJSON), &a), json.Unmarshal(converted, &b)); err != nil {
		t.Fatal(err)
	}
	first, _ := json.Marshal(a)
	if second, _ := json.Marshal(b); string(first) != string(second) {
		t.Errorf("JSON says\n%s\nYAML says\n%s", first, second)
	}
}

func TestViewsSayWhatIsWrongWithTheirCommandLines(t *testing.T) {
	nobody := []string{"--agent-socket", ownSocket(t)}
	for _, c := range []struct {
		args  string
		wants []string
	}{
		{"status -o xml", []string{`-o "xml": write table, wide, json or yaml`}},
		{"status extra", []string{"extra"}},
		{"diff", []string{"no agent answers", "--kubeconfig or --manifests"}},
		{"explain service shop/web", []string{"no agent answers", "--manifests", "explain address"}},
		{"explain service", []string{"0 arguments", "NAMESPACE/NAME"}},
		{"explain service a/b/c", []string{`"a/b/c": write NAMESPACE/NAME`}},
		{"explain service shop/web --ipvs-scheduler lc", []string{"--ipvs-scheduler: the agent on this node answers by its own flags"}},
		{"explain service shop/web --manifests -", []string{"--node-name is missing"}},
		{"explain service shop/web --manifests - --kubeconfig x --node-name n", []string{"choose one of the two sources"}},
		{"explain service x/y/z --manifests - -o xml --nodeport-addresses localhost", []string{"x/y/z", "xml", "--node-name is missing", "localhost"}},
		{"explain address 10.1.0.10", []string{`"10.1.0.10": write ADDRESS:PORT`}},
		{"explain address 10.1.0.10:0", []string{"write ADDRESS:PORT"}},
		{"explain address 10.1.0.10:80/icmp", []string{"unknown protocol"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			stdout, stderr, code := kubeIPVS(t, "", append(strings.Fields(c.args), nobody...)...)
			if code != 1 || stdout != "" {
				t.Errorf("exit code %d and output %q, want 1 and nothing", code, stdout)
			}
			for _, want := range c.wants {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in\n%s", want, stderr)
				}
			}
		})
	}
}

func TestServicesOfTheAgentAreOfferedToTheShell(t *testing.T) {
	i, _, _ := shop(t)
	socket := ownSocket(t)
	answering(t, socket, socketHandler(i))
	stdout, _, code := kubeIPVS(t, "", "__complete", "explain", "service", "--agent-socket", socket, "")
	if code != 0 || !strings.Contains(stdout, "shop/late\nshop/web\n") {
		t.Errorf("offered is %q, exit code %d", stdout, code)
	}
}

func TestAnUnreadableKernelLeavesTheRestOfAnExplanation(t *testing.T) {
	i, _, _ := shop(t)
	i.openKernel = func() (ipvs.Handle, error) { return nil, ipvs.ErrNoIPVS }
	e, err := i.explain(t.Context(), sync.ServiceID{Namespace: "shop", Name: "web"})
	if err != nil || !strings.Contains(e.KernelUnknown, "no IPVS") || e.State != report.Served {
		t.Errorf("%+v, %v", e, err)
	}
}

// Only what differs twice is a difference: the kernel is read while the agent works.
func TestWhatDiffersForAMomentIsNoDifference(t *testing.T) {
	i, kernel, _ := shop(t)
	mustDo(t, kernel, ipvs.Op{Verb: ipvs.DelReal, Key: served, RealKey: netip.MustParseAddrPort("10.244.1.1:8080")})
	overview, asked := i.overview, 0
	i.overview = func(ctx context.Context) (*sync.Overview, error) {
		if asked++; asked == 1 {
			defer mustDo(t, kernel, ipvs.Op{Verb: ipvs.AddReal, Key: served, RealKey: netip.MustParseAddrPort("10.244.1.1:8080"), Real: ipvs.RealServer{Weight: 1}})
		}
		return overview(ctx)
	}
	if d, err := i.diff(t.Context()); err != nil || !d.Same() || asked != 2 {
		t.Errorf("%+v, %v after %d looks", d, err, asked)
	}
}

// Who looks for what is wrong must be told it even if the loop has no time for him.
func TestStatusIsThereWhileTheLoopAnswersNobody(t *testing.T) {
	i, _, _ := shop(t)
	i.overview = func(ctx context.Context) (*sync.Overview, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	i.health = func(time.Time) sync.Health {
		return sync.Health{Reason: "the pass that began at noon has not ended"}
	}
	i.glance = func() *sync.Overview {
		o := sync.NewOverview(sync.NewState(sync.Defaults{}), nil, nil)
		o.Time = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		o.Health = i.health(o.Time)
		o.Status = sync.Status{Frontends: 4, RealServers: 8}
		return o
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s, err := i.status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Table(&b, false); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "testdata/view/status_stuck.golden", b.String())
	if s.Well() {
		t.Error("all is well")
	}
	again, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer end()
	r := httptest.NewRecorder()
	i.page().ServeHTTP(r, httptest.NewRequestWithContext(again, http.MethodGet, "/statusz", http.NoBody))
	if r.Code != 200 || !strings.Contains(r.Body.String(), "has not ended") || !strings.Contains(r.Body.String(), "not known now") {
		t.Errorf("the page: %d\n%s", r.Code, r.Body)
	}
}
