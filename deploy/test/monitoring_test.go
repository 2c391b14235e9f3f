package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// nodeLabel is what the PodMonitor adds to every metric.
const nodeLabel = "node"

// metricsByName are the values of each label of each metric. Of a label that is not the agent's the values are unknown: nil.
type metricsByName map[string]map[string][]string

// metrics are those of the agent.
func metrics(t *testing.T) metricsByName {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(sync.New(logr.Discard(), sync.Config{}).Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := metricsByName{}
	for _, family := range families {
		labels := map[string][]string{nodeLabel: nil}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		all[family.GetName()] = labels
	}
	return all
}

var (
	selector = regexp.MustCompile(`(kube_ipvs_\w+)(?:\{([^{}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)=~?"([^"]*)"`)
	grouping = regexp.MustCompile(`by \(([^()]*)\) \(+(?:\w+\()?(kube_ipvs_\w+)`)
)

// asks requires of a query that what it asks for exists, and returns the metrics. What does not exist alerts nobody, and
// draws nothing.
func (known metricsByName) asks(t *testing.T, where, query string) (names []string) {
	t.Helper()
	for _, m := range selector.FindAllStringSubmatch(query, -1) {
		names = append(names, m[1])
		labels := known[m[1]]
		if labels == nil {
			t.Errorf("%s: the agent has no metric %s", where, m[1])
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if values, there := labels[l[1]]; !there || values != nil && !slices.Contains(values, l[2]) {
				t.Errorf("%s: %s has no %s", where, m[1], l[0])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		for _, label := range strings.Split(g[1], ", ") {
			if _, there := known[g[2]][label]; !there {
				t.Errorf("%s: %s has no label %s", where, g[2], label)
			}
		}
	}
	if len(names) == 0 {
		t.Errorf("%s: %s names no metric of the agent", where, query)
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
			t.Errorf("%s: %s is not closed in %s", where, pair, query)
		}
	}
	return names
}

// rule is an alert as the Prometheus operator has it (monitoring.coreos.com/v1, Rule).
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func TestAlertsAreAboutMetricsOfTheAgent(t *testing.T) {
	known := metrics(t)
	object := find(t, kustomize(t, "test/testdata/monitored"), "PrometheusRule")
	if object["apiVersion"] != "monitoring.coreos.com/v1" {
		t.Errorf("it is of %s", object["apiVersion"])
	}
	var spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict([]byte(toJSON(t, object["spec"])), &spec); err != nil {
		t.Fatal(err)
	}
	if len(spec.Groups) != 1 || len(spec.Groups[0].Rules) == 0 {
		t.Fatalf("groups %+v", spec.Groups)
	}
	for _, r := range spec.Groups[0].Rules {
		if r.Alert == "" || r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
			t.Errorf("incomplete: %+v", r)
		}
		known.asks(t, r.Alert, r.Expr)
	}
}

func TestTheDashboardDrawsMetricsOfTheAgent(t *testing.T) {
	known := metrics(t)
	var dashboard struct {
		Title      string
		Templating struct{ List []struct{ Name string } }
		Panels     []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	object := find(t, kustomize(t, "test/testdata/monitored"), "ConfigMap", "kube-ipvs-dashboard")
	if object.at("metadata", "labels", "grafana_dashboard") != "1" {
		t.Error("Grafana's sidecar does not find it")
	}
	text := object.at("data", "dashboard.json").(string)
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil || dashboard.Title == "" || len(dashboard.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(dashboard.Panels), err)
	}
	variables := []string{"__rate_interval", "__all"} // Grafana's own
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(variables, m[1]) {
			t.Errorf("there is no variable %s", m[0])
		}
	}
	drawn := map[string]bool{}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 || p.Title == "" {
			t.Errorf("panel %q draws nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range known.asks(t, "panel "+p.Title, target.Expr) {
				drawn[name] = true
			}
		}
	}
	for name := range known {
		if !drawn[name] {
			t.Errorf("no panel draws %s", name)
		}
	}
}

func TestMonitorAsksForAPortThatTheAgentHasAndAddsTheNode(t *testing.T) {
	all := kustomize(t, "test/testdata/monitored")
	monitor := find(t, all, "PodMonitor")
	ds := daemonSet(t, all)
	var ports []string
	for _, p := range ds.Spec.Template.Spec.Containers[0].Ports {
		ports = append(ports, p.Name)
	}
	if want := []string{"healthz", "metrics"}; !slices.Equal(ports, want) {
		t.Errorf("the agent has ports %q, want %q", ports, want)
	}
	delete(monitor, "metadata")
	want := object{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": ds.Spec.Template.Labels["app.kubernetes.io/name"]}},
			"podMetricsEndpoints": []any{map[string]any{
				"port": "metrics",
				"relabelings": []any{map[string]any{
					"sourceLabels": []any{"__meta_kubernetes_pod_node_name"}, "targetLabel": nodeLabel,
				}},
			}},
		},
	}
	if diff := cmp.Diff(want, monitor); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
