package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// The health check of a cloud's load balancer asks /healthz, the Pod's probes ask /readyz and /livez: a node that is about to go
// away is nothing to restart an agent for, nor to call it unready.
func TestEachPathOfHealthAnswersItsOwnQuestion(t *testing.T) {
	synced := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const then = "2026-01-02T03:04:05Z"
	for _, c := range []struct {
		name                   string
		health                 sync.Health
		healthz, readyz, livez int
		eligible               bool
		updated, why           string // of /healthz; "now" is the time of the answer
	}{
		{"waiting", sync.Health{Alive: true, Reason: "waiting"}, 503, 503, 200, true, "", "waiting"},
		{"fine", sync.Health{Alive: true, Ready: true, Synced: synced}, 200, 200, 200, true, "now", ""},
		{"failing", sync.Health{Alive: true, Reason: "failing", Synced: synced}, 503, 503, 200, true, then, "failing"},
		{"stuck", sync.Health{Reason: "stuck", Synced: synced}, 503, 503, 503, true, then, "stuck"},
		{"leaving", sync.Health{Alive: true, Ready: true, Synced: synced, Ineligible: "leaving"}, 503, 200, 200, false, "now", "leaving"},
		{"failing and leaving", sync.Health{Alive: true, Reason: "failing", Synced: synced, Ineligible: "leaving"}, 503, 503, 200, false, then, "failing"},
	} {
		h := healthHandler(func(time.Time) sync.Health { return c.health }, newProbeCounters())
		for path, want := range map[string]int{"/healthz": c.healthz, "/readyz": c.readyz, "/livez": c.livez} {
			r := get(t, h, path)
			if r.Code != want {
				t.Errorf("%s: %s answers %d, want %d", c.name, path, r.Code, want)
			}
			body := map[string]any{}
			if err := json.Unmarshal(r.Body.Bytes(), &body); err != nil {
				t.Fatalf("%s: %s: %v in %q", c.name, path, err, r.Body)
			}
			eligible, told := body["nodeEligible"]
			if told != (path == "/healthz") || told && eligible != c.eligible {
				t.Errorf("%s: %s says of the node: %v", c.name, path, body)
			}
			updated := c.updated
			if updated == "now" {
				updated = fmt.Sprint(body["currentTime"])
			}
			if have, told := body["lastUpdated"]; told != (updated != "") || told && have != updated {
				t.Errorf("%s: %s says that it was updated at %v, want %q", c.name, path, have, updated)
			}
			why := c.health.Reason
			if path == "/healthz" {
				why = c.why
			}
			if have, told := body["reason"]; told != (why != "") || told && have != why {
				t.Errorf("%s: %s says %v, want the reason %q", c.name, path, have, why)
			}
			unknown := slices.DeleteFunc(slices.Collect(maps.Keys(body)), func(field string) bool {
				return slices.Contains([]string{"lastUpdated", "currentTime", "nodeEligible", "reason"}, field)
			})
			if _, err := time.Parse(time.RFC3339, fmt.Sprint(body["currentTime"])); err != nil || len(unknown) > 0 {
				t.Errorf("%s: %s: %v (%v)", c.name, path, body, err)
			}
		}
	}
}

func TestAnswersOfHealthAreCountedByStatus(t *testing.T) {
	probes := newProbeCounters()
	health := sync.Health{Alive: true, Ready: true}
	h := healthHandler(func(time.Time) sync.Health { return health }, probes)
	get(t, h, "/healthz")
	get(t, h, "/livez")
	health.Ineligible = "leaving"
	get(t, h, "/healthz")
	get(t, h, "/healthz")
	get(t, h, "/readyz") // which kube-proxy has not
	registry := prometheus.NewRegistry()
	registry.MustRegister(probes)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP kubeproxy_proxy_healthz_total Answers to /healthz by HTTP status.
# TYPE kubeproxy_proxy_healthz_total counter
kubeproxy_proxy_healthz_total{code="200"} 1
kubeproxy_proxy_healthz_total{code="503"} 2
# HELP kubeproxy_proxy_livez_total Answers to /livez by HTTP status.
# TYPE kubeproxy_proxy_livez_total counter
kubeproxy_proxy_livez_total{code="200"} 1
kubeproxy_proxy_livez_total{code="503"} 0
`)); err != nil {
		t.Error(err)
	}
}
