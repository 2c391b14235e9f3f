package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// deployDir has what is installed on clusters.
const deployDir = "../../deploy"

// setElsewhere are the flags of run that the chart's config does not take, with the reason.
func setElsewhere() map[string]string {
	return map[string]string{
		"config":            "is the file itself",
		"init-only":         "is the init container's",
		"hostname-override": "is another on each node",
		"kubeconfig":        "a Pod has its service account",
		"manifests":         "a Pod has no files of the node's",
	}
}

// choices are the values of flags that know a few only.
func choices() map[string][]any {
	return map[string][]any{
		"detect-local-mode":      {"", modeNodeCIDR, modeClusterCIDR, modeBridgeInterface, modeInterfacePrefix},
		"masquerade":             {"all", "remote"},
		"nodeport-source-ranges": {rangesFromAnnotation, rangesFromSpec},
		"port-conflict":          {conflictWarn, conflictSkip},
		"logging-format":         {logText, logJSON},
		"traffic-metrics":        {"none", "services", "endpoints"},
	}
}

// flagSchema says in JSON Schema what values a flag takes in a configuration file.
func flagSchema(f *pflag.Flag) map[string]any {
	_, usage := pflag.UnquoteUsage(f)
	s := map[string]any{"description": usage}
	switch f.Value.Type() {
	case "duration":
		s["type"], s["pattern"] = "string", `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`
	case "stringSlice", stringArray:
		s["type"], s["items"] = []any{"array", "string"}, map[string]any{"type": []any{"string", "integer"}}
		if f.Name == "extra-port-range" { // 443 alone is a number to YAML
			s["type"] = []any{"array", "string", "integer"}
		}
	case "int":
		s["type"] = "integer"
	case "bool":
		s["type"] = "boolean"
	default:
		s["type"] = "string"
		if f.Name == "service-node-port-range" {
			s["type"] = []any{"string", "integer"}
		}
		if few, is := choices()[f.Name]; is {
			s["enum"] = few
		}
		if strings.HasSuffix(f.Name, "-bind-address") { // a port that is chosen by the kernel is one that nobody finds
			s["pattern"] = `^(|([^:\[\]\s]*|\[[0-9a-fA-F:.]+\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))$`
		}
	}
	return s
}

// A value that the agent does not know is refused when the chart is installed, not by Pods that crash.
func TestChartTakesEveryFlagOfRun(t *testing.T) {
	path := filepath.Join(deployDir, "helm", "kube-ipvs", "values.schema.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	flags := map[string]any{}
	newRun().Flags().VisitAll(func(f *pflag.Flag) {
		if _, elsewhere := setElsewhere()[f.Name]; !elsewhere {
			flags[f.Name] = flagSchema(f)
		}
	})
	schema["properties"].(map[string]any)["config"].(map[string]any)["properties"] = flags
	var want bytes.Buffer
	encoder := json.NewEncoder(&want)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), string(text)); diff != "" {
		t.Errorf("%s is not what the flags say: UPDATE_GOLDEN=1 go test ./cmd/kube-ipvs writes it (-want +got):\n%s", path, diff)
	}
}

// What the chart lets through the agent takes, and the other way round.
func TestChoicesOfFlagsAreThoseThatTheAgentTakes(t *testing.T) {
	needs := map[string]string{
		modeClusterCIDR: "cluster-cidr: [10.244.0.0/16]\n", modeBridgeInterface: "pod-bridge-interface: cni0\n", modeInterfacePrefix: "pod-interface-name-prefix: veth\n",
	}
	takes := func(flag string, value any) bool {
		o, err := configured(t, fmt.Sprintf("%s%s: %q\n", needs[fmt.Sprint(value)], flag, value))
		if err != nil {
			t.Fatal(err)
		}
		return o.validate() == nil
	}
	for flag, values := range choices() {
		for _, value := range values {
			if !takes(flag, value) {
				t.Errorf("%s: %v is refused", flag, value)
			}
		}
		if takes(flag, "other") {
			t.Errorf("%s takes anything", flag)
		}
	}
	o, err := configured(t, "extra-port-range: 443\nservice-node-port-range: 30000\n")
	if err != nil || o.validate() != nil || !o.extra.Has(443) || o.nodePorts.Size() != 1 {
		t.Errorf("single ports are not read: %+v, %v", o, err)
	}
}

// documents of a YAML file.
func documents(t *testing.T, path string) []any {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []any
	for d := yaml.NewYAMLOrJSONDecoder(bufio.NewReader(file), 4096); ; {
		var doc any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, doc)
	}
}

// commandLines are the arguments of containers, anywhere in a document.
func commandLines(node any) [][]string {
	var found [][]string
	switch v := node.(type) {
	case []any:
		for _, item := range v {
			found = append(found, commandLines(item)...)
		}
	case map[string]any:
		if args, is := v["args"].([]any); is {
			line := make([]string, len(args))
			for i, a := range args {
				line[i] = fmt.Sprint(a)
			}
			found = append(found, line)
		}
		for _, item := range v {
			found = append(found, commandLines(item)...)
		}
	}
	return found
}

// knows parses a command line and runs nothing.
func knows(args []string) error {
	cmd, rest, err := newRoot().Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func TestAgentKnowsTheCommandLinesOfDeploy(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(deployDir, "kustomize"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		for _, doc := range documents(t, path) {
			for _, args := range commandLines(doc) {
				seen[strings.Join(args[:2], " ")] = true
				if err := knows(args); err != nil {
					t.Errorf("%s: kube-ipvs %s: %v", path, strings.Join(args, " "), err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"run --init-only", "run --config=/etc/kube-ipvs/config.yaml", "cleanup --drain", "cleanup --stay"} {
		if !seen[line] {
			t.Errorf("no container runs %s: %v", line, seen)
		}
	}
}

func TestUnknownFlagsAreSeen(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--nodeport-address=all"}, {"run", "--drain-timeout=soon"}, {"cleanup", "--init-only"}, {"start"}, {"run", "now"},
	} {
		if knows(args) == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// The values of the chart and the file of the kustomize base are a configuration file.
func TestConfigurationsOfDeployAreValid(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(deployDir, "kustomize", "base", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := documents(t, filepath.Join(deployDir, "helm", "kube-ipvs", "values.yaml"))[0].(map[string]any)
	chart, err := json.Marshal(values["config"])
	if err != nil {
		t.Fatal(err)
	}
	var got []*options
	for name, text := range map[string]string{"kustomize": string(file), "helm": string(chart)} {
		o, err := configured(t, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := o.validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		o.config = ""
		got = append(got, o)
	}
	if diff := sameOptions(got[0], got[1]); diff != "" {
		t.Errorf("kustomize and helm differ:\n%s", diff)
	}
	if !slices.Equal(got[0].nodePortAddresses, []string{"primary"}) || got[0].healthz != ":10356" {
		t.Errorf("not what is meant: %+v", got[0])
	}
}
