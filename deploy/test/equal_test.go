package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// The one thing that differs on purpose is how another configuration rolls the agents over: kustomize has a hash in the
// ConfigMap's name, Helm one in an annotation of the Pods.
func hasConfigHash(name string) bool {
	return regexp.MustCompile(`^kube-ipvs-[a-z0-9]{10}$`).MatchString(name)
}

func normal(t *testing.T, all []object) map[string]object {
	t.Helper()
	byKey := map[string]object{}
	for _, o := range all {
		o := object(normalise(t, map[string]any(o)).(map[string]any))
		if byKey[o.key()] != nil {
			t.Errorf("%s is rendered twice", o.key())
		}
		byKey[o.key()] = o
	}
	return byKey
}

func normalise(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			switch {
			case key == "checksum/config":
			case key == "readOnly" && value == false: // what is not there
			case key == "config.yaml":
				var config map[string]any
				if err := yaml.Unmarshal([]byte(value.(string)), &config); err != nil {
					t.Fatal(err)
				}
				out[key] = config
			default:
				out[key] = normalise(t, value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = normalise(t, item)
		}
		return out
	case string:
		if hasConfigHash(v) {
			return "kube-ipvs"
		}
		return strings.TrimSpace(v)
	}
	return v
}

func TestKustomizeAndHelmRenderTheSameObjects(t *testing.T) {
	for _, c := range []struct{ name, kustomization, values string }{
		{"as they come", "kustomize/base", ""},
		{"monitored", "test/testdata/monitored", "monitoring: {enabled: true}"},
		{"uninstalling", "kustomize/uninstall", "cleanup: true"},
		{"uninstalling, monitored", "test/testdata/monitored-cleanup", "cleanup: true\nmonitoring: {enabled: true}"},
		{"uninstalling, cleaning up first and monitored then", "test/testdata/cleanup-monitored", "cleanup: true\nmonitoring: {enabled: true}"},
		{"uninstalling with a kustomization of one's own", "test/testdata/cleanup", "cleanup: true\nconfig: {drain-timeout: 1m}"},
		{"without kube-proxy", "kind/without-kube-proxy", "apiServer: {host: kube-ipvs-control-plane}"},
		{"with a configuration of one's own", "test/testdata/own-config", `
image: {repository: registry.example.org/kube-ipvs, tag: v1.2.3}
config: {nodeport-addresses: [10.1.0.0/16, "iface:dmz*"], ipvs-scheduler: wlc, v: 2}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(normal(t, kustomize(t, c.kustomization)), normal(t, helm(t, c.values))); diff != "" {
				t.Errorf("(-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// Else a change of the configuration would wait for the next restart of each agent.
func TestAnotherConfigurationRollsTheAgentsOver(t *testing.T) {
	pods := func(all []object) string {
		text, err := yaml.Marshal(find(t, all, "DaemonSet").at("spec", "template"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if pods(helm(t, "")) == pods(helm(t, "config: {v: 1}")) {
		t.Error("Helm renders the same Pods for two configurations")
	}
	base, own := find(t, kustomize(t, "kustomize/base"), "ConfigMap"), find(t, kustomize(t, "test/testdata/own-config"), "ConfigMap")
	if base.key() == own.key() || !hasConfigHash(base.at("metadata", "name").(string)) {
		t.Errorf("kustomize calls two configurations %s and %s", base.key(), own.key())
	}
}

func TestChartRefusesValuesThatNobodyKnows(t *testing.T) {
	for _, values := range []string{
		"config: {nodeport-address: [all]}", "config: {drain-timeout: soon}", "config: {v: much}", "config: {init-only: true}",
		"config: {hostname-override: a}", "image: {repo: a}", "tolerance: []", "cleanup: maybe",
		"maxUnavailable: 0", "maxUnavailable: -3", "maxUnavailable: banana", "maxUnavailable: 0%", "maxUnavailable: '3'",
		"config: {healthz-bind-address: ':0'}", "config: {healthz-bind-address: nonsense}", "config: {metrics-bind-address: ':65536'}", "config: {metrics-bind-address: '::1:9'}",
		"config: null", "image: null", "image: {repository: null}", "monitoring: null", "monitoring: {enabled: null}", "cleanup: null", "maxUnavailable: null",
		"image: {digest: latest}",
	} {
		if _, err := renderChart(t.Context(), system, values); err == nil {
			t.Errorf("%s is taken", values)
		} else if !strings.Contains(err.Error(), "don't meet the specifications of the schema") {
			t.Errorf("%s is refused by a template: %v", values, err)
		}
	}
	for _, values := range []string{
		"maxUnavailable: 1", "maxUnavailable: 100%", "maxUnavailable: 5%", "config: {healthz-bind-address: ''}", "config: {metrics-bind-address: '[::1]:65535'}",
		"config: {metrics-bind-address: 'node.example.org:9'}", "config: {}",
	} {
		if _, err := renderChart(t.Context(), system, values); err != nil {
			t.Errorf("%s is refused: %v", values, err)
		}
	}
}

// Helm 3 takes a DaemonSet for ready that lacks as many Pods as maxUnavailable says, here all: only kubectl waits.
func TestNobodyIsToldToUninstallBeforeTheCleanupIsDone(t *testing.T) {
	for _, file := range []string{"../../docs/install.md", "../helm/kube-ipvs/values.yaml", "../helm/kube-ipvs/templates/NOTES.txt"} {
		text, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		_, after, found := strings.Cut(string(text), "--set cleanup=true")
		line, rest, _ := strings.Cut(after, "\n")
		if next, _, _ := strings.Cut(rest, "\n"); !found || strings.Contains(line, "--wait") || !strings.Contains(next, "rollout status daemonset/kube-ipvs") {
			t.Errorf("%s: after the upgrade%q comes %q", file, line, next)
		}
	}
}

// The overlay of ours would put our image and our configuration in the place of one's own; and a ConfigMap of an earlier
// configuration is in no kustomization any more.
func TestUninstallingBeginsWithOnesOwnKustomizationAndLeavesNoConfigMap(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash("../../docs/install.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Uninstalling")
	last := 0
	for _, step := range []string{
		"deploy/kustomize/cleanup", "\nkubectl apply -k .\n", "\nkubectl -n kube-system rollout status daemonset/kube-ipvs\n", "\nkubectl delete -k .\n",
		"kubectl -n kube-system delete configmap -l app.kubernetes.io/name=kube-ipvs", "deploy/kustomize/uninstall",
	} {
		at := strings.Index(section, step)
		if at < last {
			t.Errorf("%q is at %d, want it after %d", step, at, last)
		}
		last = at - 1
	}
	if got := find(t, kustomize(t, "test/testdata/own-config"), "ConfigMap").at("metadata", "labels", "app.kubernetes.io/name"); got != "kube-ipvs" {
		t.Errorf("a ConfigMap of one's own has the label %v", got)
	}
}
