package deploy

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// rule is an alert as the Prometheus operator has it (monitoring.coreos.com/v1, Rule).
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// An alert on a metric that does not exist never fires.
func TestAlertsAreAboutMetricsOfTheAgent(t *testing.T) {
	file, err := os.Open(filepath.Join("..", "..", "sync", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	source, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	text, err := yaml.Marshal(find(t, kustomize(t, "test/testdata/monitored"), "PrometheusRule")["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		t.Fatal(err)
	}
	for _, r := range spec.Groups[0].Rules {
		metrics := regexp.MustCompile(`kube_ipvs_(\w+)`).FindAllStringSubmatch(r.Expr, -1)
		if len(metrics) == 0 || r.Alert == "" || r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
			t.Errorf("incomplete: %+v", r)
		}
		for _, m := range metrics {
			if !strings.Contains(string(source), `desc("`+m[1]+`"`) {
				t.Errorf("alert %s: the agent has no metric %s", r.Alert, m[0])
			}
		}
	}
}

// A query of a metric that does not exist draws nothing, and nobody knows why.
func TestTheDashboardDrawsMetricsOfTheAgent(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "sync", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	var dashboard struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text := find(t, kustomize(t, "test/testdata/monitored"), "ConfigMap", "kube-ipvs-dashboard").at("data", "dashboard.json").(string)
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil || dashboard.Title == "" || len(dashboard.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(dashboard.Panels), err)
	}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 || p.Title == "" {
			t.Errorf("panel %q draws nothing", p.Title)
		}
		for _, target := range p.Targets {
			metrics := regexp.MustCompile(`kube_ipvs_(\w+)`).FindAllStringSubmatch(target.Expr, -1)
			if len(metrics) == 0 {
				t.Errorf("panel %q: %s names no metric of the agent", p.Title, target.Expr)
			}
			for _, m := range metrics {
				drawn[m[1]] = true
				if !strings.Contains(string(source), `desc("`+m[1]+`"`) {
					t.Errorf("panel %q: the agent has no metric %s", p.Title, m[0])
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`desc\("(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		if !drawn[m[1]] {
			t.Errorf("no panel draws kube_ipvs_%s", m[1])
		}
	}
}

func TestMonitorAsksForAPortThatTheAgentHas(t *testing.T) {
	all := kustomize(t, "test/testdata/monitored")
	monitor := find(t, all, "PodMonitor")
	port := monitor.at("spec", "podMetricsEndpoints").([]any)[0].(map[string]any)["port"]
	ds := daemonSet(t, all)
	var ports []string
	for _, p := range ds.Spec.Template.Spec.Containers[0].Ports {
		ports = append(ports, p.Name)
	}
	if strings.Join(ports, " ") != "healthz "+port.(string) {
		t.Errorf("the monitor asks for port %s of %v", port, ports)
	}
	for key, value := range monitor.at("spec", "selector", "matchLabels").(map[string]any) {
		if ds.Spec.Template.Labels[key] != value {
			t.Errorf("the Pods have no label %s=%s", key, value)
		}
	}
}
