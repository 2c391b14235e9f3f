package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/traffic"
)

// exported is everything that an agent exports which has nothing to do.
func exported(t *testing.T) *prometheus.Registry {
	t.Helper()
	registry, err := newRegistry(sync.New(logr.Discard(), sync.Config{}).Collector(), newProbeCounters())
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

func TestMetricsFollowTheConventionsOfPrometheus(t *testing.T) {
	problems, err := testutil.GatherAndLint(exported(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// A gauge that is called a total: the name is kube-proxy's.
		if p.Metric != "kubeproxy_sync_proxy_rules_no_local_endpoints_total" {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestMetricsAreThereBeforeAnythingHappens(t *testing.T) {
	body := get(t, metricsHandler(prometheus.ToTransactionalGatherer(exported(t))), "/metrics").Body.String()
	for _, want := range []string{
		`kube_ipvs_kernel_operations_total{result="done",verb="add-real"} 0`, `kube_ipvs_build_info{version="dev"} 1`,
		"kube_ipvs_sync_last_success_timestamp_seconds 0", `kube_ipvs_problems{reason="conflict"} 0`,
		"kubeproxy_sync_proxy_rules_duration_seconds_count 0", `kubeproxy_proxy_healthz_total{code="503"} 0`,
		`kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external"} 0`, "go_goroutines ", "process_start_time_seconds ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the metrics", want)
		}
	}
}

// The numbers that say why something fails must not be lost with it.
func TestMetricsThatCannotBeGatheredLeaveTheOthers(t *testing.T) {
	registry := exported(t)
	registry.MustRegister(brokenCollector{prometheus.NewDesc("broken", "It fails.", nil, nil)})
	r := get(t, metricsHandler(prometheus.ToTransactionalGatherer(registry)), "/metrics")
	if r.Code != 200 || !strings.Contains(r.Body.String(), "kube_ipvs_virtual_servers 0") {
		t.Errorf("status %d:\n%s", r.Code, r.Body)
	}
}

type brokenCollector struct{ *prometheus.Desc }

func (c brokenCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.Desc }

func (c brokenCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(c.Desc, errors.New("no kernel here"))
}

// docs/metrics.md is what the agent exports. UPDATE_GOLDEN=1 writes it.
func TestMetricsAreDocumentedFromWhatIsExported(t *testing.T) {
	const path = "../../docs/metrics.md"
	want := metricsPage(gathered(t, exported(t)), traffic.Descriptions())
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-exported +file), UPDATE_GOLDEN=1 go test ./cmd/kube-ipvs writes it:\n%s", path, diff)
	}
}

// gathered are the metrics of a registry, without those that every Go program exports.
func gathered(t *testing.T, registry prometheus.Gatherer) []traffic.Description {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []traffic.Description
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_") {
			continue
		}
		m := traffic.Description{Name: f.GetName(), Type: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}
		for _, l := range f.GetMetric()[0].GetLabel() {
			m.Labels = append(m.Labels, l.GetName())
		}
		all = append(all, m)
	}
	return all
}

func metricsPage(lists ...[]traffic.Description) string {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- written by go test ./cmd/kube-ipvs from what the agent exports -->

` + "`/metrics` on `--metrics-bind-address` (127.0.0.1:10349)" + ` has these, and what every Go program exports of itself
(` + "`go_*`, `process_*`" + `). Those of kube-proxy mean what they mean there, so that its dashboards and alerts work; beside kube-proxy on the same node the two are told apart by their job. What is different:

- There is no label ` + "`ip_family`" + `: one pass serves both families.
- ` + "`duration`" + ` leaves out the looks at departing connections, once a second while something drains. An audit is a pass like any other.
- ` + "`changes`" + ` count what the agent asks the API server for: Services that may have node ports, and EndpointSlices. An update of what it does not read, such
  as a status, is none.
- ` + "`network_programming`" + ` counts only Services that this node serves, and ends when all of their virtual servers are as they should be: while the kernel
  refuses one of them it goes on. At most 32 changes of a Service wait so. The control plane knows when a pod became ready to the second only.
- ` + "`/livez`" + ` is 503 only if the reconcile loop is stuck; kube-proxy's also when its rules are late.

` + "`kube_ipvs_service_*`, `kube_ipvs_endpoint_*` and `kube_ipvs_traffic_left_out`" + ` are there as far as ` + "`--traffic-metrics`" + ` (none, services, endpoints) asks for them, for as
many Service ports and endpoints as ` + "`--traffic-metrics-limit`" + ` lets through. The kernel is read for them when somebody scrapes.

| metric | type | labels | meaning | kube-proxy's |
|---|---|---|---|---|
`)
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b traffic.Description) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range all {
		labels, theirs := make([]string, len(m.Labels)), ""
		for i, l := range m.Labels {
			labels[i] = "`" + l + "`"
		}
		if strings.HasPrefix(m.Name, "kubeproxy_") {
			theirs = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Type, strings.Join(labels, ", "), m.Help, theirs)
	}
	return b.String()
}
