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

// The arguments are parsed by the agent itself; --help, which comes last, keeps it from doing anything.
func TestAgentKnowsWhatItIsStartedWith(t *testing.T) {
	agent := buildAgent(t)
	rendered := map[string][]object{
		"base": kustomize(t, "kustomize/base"), "uninstall": kustomize(t, "kustomize/uninstall"), "monitored": kustomize(t, "test/testdata/monitored"),
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

// Values, too: the agent reads the file of the ConfigMap. It is given a manifest file that does not exist, so that it finds
// fault with that one alone.
func TestAgentTakesEveryFlagThatTheChartPassesOn(t *testing.T) {
	agent := buildAgent(t)
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
	help, err := exec.CommandContext(t.Context(), agent, "run", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(help), "\n") {
		_, rest, is := strings.Cut(line, "  --")
		if !is {
			continue
		}
		name := strings.Fields(rest)[0]
		elsewhere := []string{"config", "init-only", "hostname-override", "kubeconfig", "manifests"} // as cmd/kube-ipvs/deploy_test.go says
		if _, there := flags[name]; !there && !slices.Contains(elsewhere, name) {
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
