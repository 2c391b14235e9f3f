package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each testdata/ports/NAME.yaml is as those of TestPlan, for ports.
func TestPorts(t *testing.T) {
	inputs, err := filepath.Glob("testdata/ports/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no scenario found: %v", err)
	}
	for _, input := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(input), ".yaml"), func(t *testing.T) {
			manifests, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(manifests)) {
				flags, is := strings.CutPrefix(line, "# ports ")
				if !is {
					break
				}
				args := append([]string{"ports", "--manifests", "-"}, strings.Fields(flags)...)
				stdout, stderr, code := kubeIPVS(t, string(manifests), args...)
				fmt.Fprintf(&got, "$ kube-ipvs ports %s--- stdout\n%s--- stderr\n%s--- exit code %d\n\n", flags, stdout, stderr, code)
			}
			compareGolden(t, strings.TrimSuffix(input, ".yaml")+".golden", got.String())
		})
	}
}

func TestPortsAsJSONHasAllFieldsAsListsAndNumbers(t *testing.T) {
	manifests, err := os.ReadFile("testdata/ports/empty.yaml")
	if err != nil {
		t.Fatal(err)
	}
	stdout, _, code := kubeIPVS(t, string(manifests), "ports", "--manifests", "-", "--node-name", "node1", "-o", "json")
	var answer map[string]any
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v in\n%s", code, err, stdout)
	}
	for _, field := range []string{"ports", "bands", "suggest"} {
		if _, list := answer[field].([]any); !list {
			t.Errorf("%s is %v, want a list", field, answer[field])
		}
	}
}

func TestPortsSaysWhatIsWrongWithItsCommandLine(t *testing.T) {
	manifests := []string{"--manifests", "-", "--node-name", "n"}
	for _, c := range []struct {
		name  string
		args  []string
		wants []string
	}{
		{"flags that the agent would not look at", []string{"--node-name", "n", "--service-node-port-range", "1-2"}, []string{
			"--node-name, --service-node-port-range: the agent on this node answers by its own flags",
		}},
		{"no node", []string{"--manifests", "-"}, []string{"--node-name is missing"}},
		{"no node of a cluster", []string{"--kubeconfig", "x"}, []string{"--node-name is missing"}},
		{"two sources", append(manifests, "--kubeconfig", "x"), []string{"--kubeconfig and --manifests: choose one"}},
		{"unknown format", append(manifests, "-o", "ipvsadm"), []string{`-o "ipvsadm": write table, wide, json or yaml`}},
		{"fewer than no port", append(manifests, "--suggest", "-1"), []string{"--suggest: -1"}},
		{"several at once", append(manifests, "-o", "xml", "--port-conflict", "drop", "--service-node-port-range", "x"), []string{
			"-o", `--port-conflict: "drop": write warn or skip`, `--service-node-port-range: port range "x"`,
		}},
		{"a bad range beside a good one", append(manifests, "--extra-port-range", "80,443-442"), []string{`--extra-port-range: port range "443-442": it ends before it begins: write 442-443`}},
		{"a port too high", append(manifests, "--extra-port-range", "65536"), []string{"65536 is above 65535"}},
		{"no port at all", append(manifests, "--extra-port-range", "0"), []string{"port 0 is never given to anybody"}},
		{"argument", []string{"30080"}, []string{"30080"}},
		{"no such file", []string{"--manifests", "/does/not/exist", "--node-name", "n"}, []string{"/does/not/exist"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, code := kubeIPVS(t, "kind: Node\napiVersion: v1\nmetadata: {name: n}\n", append([]string{"ports"}, c.args...)...)
			if code != 1 || stdout != "" {
				t.Errorf("exit code %d and output %q, want 1 and nothing", code, stdout)
			}
			for _, want := range c.wants {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in\n%s", want, stderr)
				}
			}
		})
	}
}

func TestHelpOfPortsNamesItsFlags(t *testing.T) {
	stdout, _, code := kubeIPVS(t, "", "ports", "--help")
	for _, want := range []string{
		"--manifests file", "--kubeconfig file", "--suggest number", "--extra-port-range list", "--port-conflict policy", "--service-node-port-range range",
		"exit code is 2", "if some objects were skipped", "kube-ipvs ports --manifests services.yaml --node-name node1 --suggest 3",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	if stdout, _, _ := kubeIPVS(t, ""); !strings.Contains(stdout, "\n  ports ") {
		t.Errorf("the command is not listed in\n%s", stdout)
	}
}
