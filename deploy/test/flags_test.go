package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// buildAgent builds the agent of this tree.
func buildAgent(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kube-ipvs")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./cmd/kube-ipvs")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

func TestAgentKnowsFlagsAndValuesOfDeploy(t *testing.T) {
	agent := buildAgent(t)
	t.Run("arguments", func(t *testing.T) { knowsArguments(t, agent) })
	t.Run("every flag that the chart passes on", func(t *testing.T) { takesEveryFlag(t, agent) })
}

// The arguments are parsed by the agent itself; --help, which comes last, keeps it from doing anything.
func knowsArguments(t *testing.T, agent string) {
	t.Helper()
	rendered := map[string][]object{
		"base": kustomize(t, "kustomize/base"), "uninstall": kustomize(t, "kustomize/uninstall"), "monitored": kustomize(t, "test/testdata/monitored"),
		"monitored, then uninstall": kustomize(t, "test/testdata/monitored-cleanup"), "uninstall, then monitored": kustomize(t, "test/testdata/cleanup-monitored"),
		"every value": helm(t, everyValue), "chart that cleans up": helm(t, "cleanup: true"),
	}
	for name, all := range rendered {
		pod := daemonSet(t, all).Spec.Template.Spec
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			if out, err := exec.CommandContext(t.Context(), agent, append(c.Args, "--help")...).CombinedOutput(); err != nil {
				t.Errorf("%s: kube-ipvs %s: %v\n%s", name, strings.Join(c.Args, " "), err, out)
			}
		}
	}
	if exec.CommandContext(t.Context(), agent, "run", "--nonsense", "--help").Run() == nil {
		t.Error("a flag that does not exist is taken: this test sees nothing")
	}
}

// Values, too: the agent reads the file of the ConfigMap.
func takesEveryFlag(t *testing.T, agent string) {
	t.Helper()
	every, err := os.ReadFile(filepath.Join("testdata", "every-flag.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var flags map[string]any
	if err := yaml.UnmarshalStrict(every, &flags); err != nil {
		t.Fatal(err)
	}
	indented := "config:\n  " + strings.ReplaceAll(string(every), "\n", "\n  ")
	config := find(t, helm(t, indented), "ConfigMap").at("data", "config.yaml").(string)
	if out := validate(t, agent, config); out != "" {
		t.Errorf("the agent says of\n%s\n%s", config, out)
	}
	if out := validate(t, agent, "drain-timeout: -1s"); !strings.Contains(out, "--drain-timeout") {
		t.Errorf("a bad value gives %q: this test sees nothing", out)
	}
	schema, err := os.ReadFile(filepath.Join("..", "helm", "kube-ipvs", "values.schema.json")) // cmd/kube-ipvs compares it with the flags
	if err != nil {
		t.Fatal(err)
	}
	known := object{}
	if err := yaml.Unmarshal(schema, &known); err != nil {
		t.Fatal(err)
	}
	for name := range known.at("properties", "config", "properties").(map[string]any) {
		if _, there := flags[name]; !there {
			t.Errorf("testdata/every-flag.yaml lacks %s", name)
		}
	}
}

// validate returns what the agent has to say of a configuration file. `check` validates all flags of run before it looks
// at anything; what it reports after that is about this machine, on standard output.
func validate(t *testing.T, agent, config string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), agent, "check", "--config", file, "--manifests", os.DevNull, "--hostname-override", "node1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if stdout.Len() == 0 {
		return fmt.Sprint(stderr.String(), err)
	}
	return ""
}
