package kindcluster

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func TestPodsAndNodesAreAskedFromByExec(t *testing.T) {
	s, exec := newExecServer(t)
	p := newPlaces(t.Context(), exec, func(node string) (podName, error) { return podName{"probes", "on-" + node}, nil })
	to := netip.MustParseAddrPort(web(t).Listener.Addr().String())
	for _, place := range []string{"cases/web", "worker", "cases/web"} {
		tally, err := p.Ask(t.Context(), suite.Question{From: place, Protocol: "http", To: to, Count: 2})
		if err != nil || tally.Pods["web"] != 2 {
			t.Fatalf("from %s: %v, %v", place, tally, err)
		}
	}
	execs := s.seen()
	if len(execs) != 2 {
		t.Fatalf("%d conversations for two places: %v", len(execs), execs)
	}
	for i, path := range []string{"/namespaces/cases/pods/web/exec", "/namespaces/probes/pods/on-worker/exec"} {
		q := execs[i].Query()
		if !strings.HasSuffix(execs[i].Path, path) || q.Get("container") != containerName || !slices.Equal(q["command"], []string{program, "ask"}) {
			t.Errorf("exec %v", execs[i])
		}
	}
}

func TestAskingFromOutsideTakesNoExec(t *testing.T) {
	s, exec := newExecServer(t)
	p := newPlaces(t.Context(), exec, noPods)
	server := web(t)
	to := netip.MustParseAddrPort(server.Listener.Addr().String())
	tally, err := p.Ask(t.Context(), suite.Question{From: suite.Outside, Protocol: "http", To: to, Count: 2})
	if err != nil || tally.Pods["web"] != 2 {
		t.Errorf("%v, %v", tally, err)
	}
	if r, err := p.Get(t.Context(), suite.Get{From: suite.Outside, URL: server.URL + "/"}); err != nil || !strings.HasPrefix(r.Body, "web ") {
		t.Errorf("%v, %v", r, err)
	}
	if execs := s.seen(); len(execs) != 0 {
		t.Errorf("%v", execs)
	}
	if _, err := p.Ask(t.Context(), suite.Question{From: "worker", Protocol: "http", To: to, Count: 1}); err == nil {
		t.Error("a node without a Pod to ask from")
	}
}

func TestLoadsAndConnectionsStayWithTheirPlaces(t *testing.T) {
	_, exec := newExecServer(t)
	p := newPlaces(t.Context(), exec, noPods)
	to := netip.MustParseAddrPort(web(t).Listener.Addr().String())
	var loads []int
	for _, place := range []string{suite.Outside, "cases/one", "cases/two"} {
		load, err := p.StartLoad(t.Context(), suite.Load{Question: suite.Question{From: place, Protocol: "http", To: to}, Workers: 1})
		if err != nil || slices.Contains(loads, load) {
			t.Fatalf("load %d of %v: %v", load, loads, err)
		}
		loads = append(loads, load)
	}
	for _, load := range loads {
		for tally := (suite.Tally{}); tally.Answers() < 3; {
			var err error
			if tally, err = p.LoadTally(t.Context(), load); err != nil || len(tally.Failures) > 0 {
				t.Fatalf("load %d: %v, %v", load, tally, err)
			}
		}
		if tally, err := p.StopLoad(t.Context(), load); err != nil || tally.Answers() < 3 {
			t.Errorf("load %d: %v, %v", load, tally, err)
		}
		if _, err := p.StopLoad(t.Context(), load); err == nil {
			t.Errorf("load %d was stopped twice", load)
		}
	}
	held, err := p.Hold(t.Context(), suite.Question{From: "cases/one", Protocol: suite.TCP, To: to})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Release(t.Context(), held); err != nil {
		t.Error(err)
	}
	if _, err := p.AskOn(t.Context(), held); err == nil {
		t.Error("a connection that was released")
	}
}

func TestAPlaceThatEndsTakesItsLoadsAlongAndIsAnError(t *testing.T) {
	s, exec := newExecServer(t)
	p := newPlaces(t.Context(), exec, noPods)
	to := netip.MustParseAddrPort(web(t).Listener.Addr().String())
	q := suite.Question{From: "cases/web", Protocol: "http", To: to, Count: 1}
	load, err := p.StartLoad(t.Context(), suite.Load{Question: q, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.gone.Store(true) // first, for a client that finds its connection severed tries another
	s.sever()
	if tally, err := p.StopLoad(t.Context(), load); err == nil {
		t.Errorf("%v of a load whose place is gone", tally)
	}
	p.askers["cases/web"].Hangup() // it may not have seen the end yet
	if _, err := p.Ask(t.Context(), q); err == nil || !containsAll(err.Error(), "cases/web", "404") {
		t.Errorf("the error says neither which Pod nor why: %v", err)
	}
}
