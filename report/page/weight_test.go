package page_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/page"
	"github.com/kube-ipvs/kube-ipvs/report/page/pagetest"
)

// A node of 2,700 Services, a tenth of them in trouble, is read over a telephone at three in the morning.
func TestAPageOfThousandsOfServicesIsLight(t *testing.T) {
	h := node(pagetest.Flood(2700), pagetest.Explained())
	for _, target := range []string{"/statusz", "/statusz?q=team"} {
		if size := len(body(t, ask(h, "GET", target))); size > 250_000 {
			t.Errorf("%s has %d bytes", target, size)
		}
	}
}

func TestWhatIsCutSaysSo(t *testing.T) {
	h := node(pagetest.Flood(1000), pagetest.Explained())
	text := body(t, ask(h, "GET", "/statusz"))
	if n := strings.Count(text, "which is older"); n != 20 || !strings.Contains(text, "Show 80 more") || !strings.Contains(text, `href="?problems=all#problem-conflict"`) {
		t.Errorf("%d problems are shown", n)
	}
	if n := strings.Count(body(t, ask(h, "GET", "/statusz?problems=all")), "which is older"); n != 100 {
		t.Errorf("%d problems are shown where all are asked for", n)
	}

	status := pagetest.Quiet(1)
	for len(status.Foreign) < 150 {
		status.Foreign = append(status.Foreign, "10.1.0.13:31999/tcp")
	}
	for len(status.Services[0].Ports[0].Addresses) < 12 {
		status.Services[0].Ports[0].Addresses = append(status.Services[0].Ports[0].Addresses, "10.1.0.14")
	}
	text = body(t, ask(node(status, pagetest.Explained()), "GET", "/statusz"))
	if strings.Count(text, "31999/tcp") != 100 || !strings.Contains(text, "And 50 more") {
		t.Error("virtual servers of others are cut and do not say so")
	}
	if !strings.Contains(text, "and 4 more</td>") {
		t.Error("addresses of a port are cut and do not say so")
	}

	e := pagetest.Explained()
	for len(e.Ports[0].Endpoints) < 350 {
		e.Ports[0].Endpoints = append(e.Ports[0].Endpoints, e.Ports[0].Endpoints[0])
	}
	if text = body(t, ask(node(status, e), "GET", "/statusz/dns/resolver")); !strings.Contains(text, "And 50 more") {
		t.Error("endpoints are cut and do not say so")
	}
}

// What the agent says of itself, in the title and with what to do.
func TestTheTitleSaysNodeAndHealth(t *testing.T) {
	now := pagetest.Now()
	for _, c := range []struct {
		name   string
		change func(*report.Status)
		title  string
		advice string
	}{
		{"well", func(*report.Status) {}, "worker-3: healthy", ""},
		{"one problem", func(s *report.Status) { s.Problems = pagetest.Troubled().Problems[:1] }, "worker-3: ready, 1 problem", ""},
		{"failing for a while", func(s *report.Status) { s.Health.FailingSince, s.Health.Error = new(now.Add(-time.Minute)), "no" }, "worker-3: ready, but passes fail", "kube-ipvs check"},
		{"failing", func(s *report.Status) { *s = pagetest.Failing() }, "worker-3: not ready", "kube-ipvs check"},
		{"starting", func(s *report.Status) { s.Health = report.Health{Alive: true, Reason: "waiting"} }, "worker-3: not ready", "Wait some seconds"},
		{"starved", func(s *report.Status) { s.Health.Ready, s.Health.Reason = false, "part of the input" }, "worker-3: not ready", "Correct what the problems name"},
		{"stuck", func(s *report.Status) { s.Health.Ready, s.Health.Alive = false, false }, "worker-3: stuck", "end of the agent"},
	} {
		status := pagetest.Quiet(1)
		c.change(&status)
		text := body(t, ask(node(status, pagetest.Explained()), "GET", "/statusz"))
		if !strings.Contains(text, "<title>"+c.title+" · kube-ipvs</title>") {
			t.Errorf("%s: the title is not %q", c.name, c.title)
		}
		header, _, _ := strings.Cut(text, "</header>")
		if has := strings.Contains(header, "What to do:"); has != (c.advice != "") || !strings.Contains(header, c.advice) {
			t.Errorf("%s: it does not advise %q:\n%s", c.name, c.advice, header)
		}
	}
}

func BenchmarkOverview(b *testing.B) {
	status := pagetest.Flood(2700)
	h := page.Handler(
		func(context.Context) (report.Status, error) { return status, nil },
		func(context.Context, string, string) (report.Explanation, bool, error) {
			return report.Explanation{}, false, nil
		})
	for _, target := range []string{"/statusz", "/statusz?q=team-07", "/statusz?format=json"} {
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(h, "GET", target)
			}
		})
	}
}
