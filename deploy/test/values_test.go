package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestEveryValueOfTheChartReachesItsObjects(t *testing.T) {
	const daemonSet, monitored = "DaemonSet", "monitoring: {enabled: true, labels: {l: m}}\n"
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cases := []struct {
		values, kind, want string
		times              int
	}{
		{"image: {repository: a, tag: b}", daemonSet, `"image":"a:b"`, 2},
		{"image: {repository: a, digest: " + digest + ", tag: b}", daemonSet, `"image":"a@` + digest + `"`, 2},
		{"image: {pullPolicy: Always}", daemonSet, `"imagePullPolicy":"Always"`, 2},
		{"image: {pullSecrets: [{name: c}]}", daemonSet, `"imagePullSecrets":[{"name":"c"}]`, 1},
		{"apiServer: {host: d, port: 1}", daemonSet, `{"name":"KUBERNETES_SERVICE_HOST","value":"d"},{"name":"KUBERNETES_SERVICE_PORT","value":"1"}`, 1},
		{"priorityClassName: e", daemonSet, `"priorityClassName":"e"`, 1},
		{"resources: {limits: {memory: 1Gi}}", daemonSet, `"limits":{"memory":"1Gi"}`, 2},
		{"nodeSelector: {e: f}", daemonSet, `"nodeSelector":{"e":"f"`, 1},
		{"tolerations: [{key: g}]", daemonSet, `"tolerations":[{"key":"g"}]`, 1},
		{"affinity: {nodeAffinity: {}}", daemonSet, `"affinity":{"nodeAffinity":{}}`, 1},
		{"podAnnotations: {h: i}", daemonSet, `"h":"i"`, 1},
		{"podLabels: {j: k}", daemonSet, `"j":"k"`, 1},
		{"maxUnavailable: 3", daemonSet, `"maxUnavailable":3`, 1},
		{"cleanup: true", daemonSet, `"args":["cleanup",`, 2},
		{"config: {healthz-bind-address: ':7'}", daemonSet, `{"containerPort":7,"name":"healthz"}`, 1},
		{monitored + "config: {metrics-bind-address: '10.0.0.1:8'}", daemonSet, `"--metrics-bind-address=10.0.0.1:8"`, 1},
		{monitored + "config: {metrics-bind-address: '10.0.0.1:8'}", daemonSet, `{"containerPort":8,"name":"metrics"}`, 1},
		{monitored, "PodMonitor", `"l":"m"`, 1},
		{monitored, "PrometheusRule", `"l":"m"`, 1},
	}
	given := map[string]bool{}
	for _, c := range cases {
		if got := toJSON(t, find(t, helm(t, c.values), c.kind)); strings.Count(got, c.want) != c.times {
			t.Errorf("%s: want %s %d times in\n%s", c.values, c.want, c.times, got)
		}
		over := map[string]any{}
		if err := yaml.Unmarshal([]byte(c.values), &over); err != nil {
			t.Fatal(err)
		}
		for name := range over {
			given[name] = true
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "helm", "kube-ipvs", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]any{}
	if err := yaml.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	for name := range known {
		if !given[name] {
			t.Errorf("this test gives no %s", name)
		}
	}
}

func TestMonitoringIsWhatIsAskedFor(t *testing.T) {
	for values, want := range map[string][]string{
		"":                            nil,
		"monitoring: {enabled: true}": {"ConfigMap kube-ipvs-dashboard", "PodMonitor kube-ipvs", "PrometheusRule kube-ipvs"},
		"monitoring: {enabled: true, alerts: false}":    {"ConfigMap kube-ipvs-dashboard", "PodMonitor kube-ipvs"},
		"monitoring: {enabled: true, dashboard: false}": {"PodMonitor kube-ipvs", "PrometheusRule kube-ipvs"},
	} {
		var got []string
		for _, o := range helm(t, values) {
			if strings.HasPrefix(o["apiVersion"].(string), "monitoring.") || strings.HasSuffix(o.key(), "-dashboard") {
				got = append(got, o.key())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", values, got, want)
		}
	}
}

func TestChartGoesToTheNamespaceOfItsRelease(t *testing.T) {
	files, err := renderChart(t.Context(), "elsewhere", "monitoring: {enabled: true}")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if strings.Contains(text, system) || strings.HasSuffix(name, ".txt") && !strings.Contains(text, "-n elsewhere") {
			t.Errorf("%s:\n%s", name, text)
		}
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, o := range split(t, name, text) {
			if got := o.at("metadata", "namespace"); got != "elsewhere" && !strings.HasPrefix(o.key(), "ClusterRole") {
				t.Errorf("%s is in %v", o.key(), got)
			}
		}
	}
}
