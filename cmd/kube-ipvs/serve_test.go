package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return r
}

func TestHealthIsRedUntilReadyAndLivenessOnlyWhenStuck(t *testing.T) {
	synced := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name                  string
		health                sync.Health
		healthz, readyz, live int
	}{
		{"waiting", sync.Health{Alive: true, Reason: "waiting"}, 503, 503, 200},
		{"fine", sync.Health{Alive: true, Ready: true, Synced: synced}, 200, 200, 200},
		{"stuck", sync.Health{Reason: "stuck", Synced: synced}, 503, 503, 503},
	} {
		h := healthHandler(func(time.Time) sync.Health { return c.health })
		for path, want := range map[string]int{"/healthz": c.healthz, "/readyz": c.readyz, "/livez": c.live} {
			r := get(t, h, path)
			if r.Code != want {
				t.Errorf("%s: %s answers %d, want %d", c.name, path, r.Code, want)
			}
			var body map[string]string
			if err := json.Unmarshal(r.Body.Bytes(), &body); err != nil {
				t.Fatalf("%s: %s: %v in %q", c.name, path, err, r.Body)
			}
			if body["reason"] != c.health.Reason {
				t.Errorf("%s: %s says %q, want the reason %q", c.name, path, body["reason"], c.health.Reason)
			}
			if updated, told := body["lastUpdated"]; told == c.health.Synced.IsZero() || told && updated != "2026-01-02T03:04:05Z" {
				t.Errorf("%s: %s says that it was updated at %q, want %s", c.name, path, updated, c.health.Synced)
			}
		}
	}
}

func TestMetricsFollowTheConventionsOfPrometheus(t *testing.T) {
	r := sync.New(logr.Discard(), sync.Config{})
	problems, err := testutil.CollectAndLint(r.Collector())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	h, err := metricsHandler(r.Collector())
	if err != nil {
		t.Fatal(err)
	}
	body := get(t, h, "/metrics").Body.String()
	for _, want := range []string{
		`kube_ipvs_kernel_operations_total{result="done",verb="add-real"} 0`, `kube_ipvs_build_info{version="dev"} 1`,
		"kube_ipvs_sync_last_success_timestamp_seconds 0", `kube_ipvs_problems{reason="conflict"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the metrics", want)
		}
	}
}

func TestPortInUseIsAnErrorAtTheStartThatNamesTheFlag(t *testing.T) {
	first, err := listen(t.Context(), "--healthz-bind-address", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	_, err = listen(t.Context(), "--metrics-bind-address", first.Addr().String(), nil)
	if err == nil || !strings.Contains(err.Error(), "--metrics-bind-address") {
		t.Errorf("error %v, want one that names the flag", err)
	}
	none, err := listen(t.Context(), "--metrics-bind-address", "", nil)
	if none != nil || err != nil {
		t.Errorf("an empty address gives %v, %v, want nothing", none, err)
	}
	if err := none.serve(t.Context()); err != nil {
		t.Errorf("serving nothing: %v", err)
	}
	none.close()
}

func TestEndpointAnswersUntilItsTimeIsOver(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	l, err := listen(ctx, "--healthz-bind-address", "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.serve(ctx) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // nobody reads it
	if answer.StatusCode != http.StatusNotFound {
		t.Errorf("the handler was not asked: %s", answer.Status)
	}
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it still serves")
	}
}
