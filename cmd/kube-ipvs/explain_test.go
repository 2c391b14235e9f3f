package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// Each rule of Kubernetes that sync/kube states has a file there. Here is how explain tells it: testdata/explain/RULE.golden has
// the explanation of each of its Services on node-a.
func TestExplainNamesTheReasonForEveryRule(t *testing.T) {
	inputs, err := filepath.Glob("../../sync/kube/testdata/rules/*.yaml")
	if err != nil || len(inputs) < 70 {
		t.Fatalf("%d rules found, %v", len(inputs), err)
	}
	for _, input := range inputs {
		rule := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(rule, func(t *testing.T) {
			content, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, "testdata/explain/"+rule+".golden", explained(t, string(content)))
		})
	}
}

// explained is the explanation of all Services of manifests.
func explained(t *testing.T, manifests string) string {
	t.Helper()
	flags := []string{"--manifests", "-", "--node-name", "node-a"}
	for line := range strings.Lines(manifests) {
		comment, is := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !is {
			break
		}
		if strings.HasPrefix(comment, "--") {
			flags = append(flags, comment)
		}
	}
	if !strings.Contains(manifests, "kind: Node\n") {
		manifests = "apiVersion: v1\nkind: Node\nmetadata: {name: node-a}\nstatus: {addresses: [{type: InternalIP, address: 10.1.0.10}, {type: InternalIP, address: \"fd01::10\"}]}\n---\n" + manifests
	}
	var b strings.Builder
	for _, service := range servicesOf(t, manifests) {
		stdout, stderr, code := kubeIPVS(t, manifests, append([]string{"explain", "service", service}, flags...)...)
		fmt.Fprintf(&b, "$ kube-ipvs explain service %s\n%s%s--- exit code %d\n\n", service, stdout, stderr, code)
	}
	return b.String()
}

// servicesOf are the names of the Services of manifests, in their order, each once.
func servicesOf(t *testing.T, manifests string) []string {
	t.Helper()
	var names []string
	seen := map[string]bool{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		var object struct {
			Kind     string
			Metadata struct{ Namespace, Name string }
		}
		if err := decoder.Decode(&object); err != nil {
			break // the end, or what the rule is about
		}
		name := object.Metadata.Namespace + "/" + object.Metadata.Name
		if object.Metadata.Namespace == "" {
			name = "default" + name
		}
		if object.Kind == "Service" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		names = append(names, "default/web")
	}
	return names
}
