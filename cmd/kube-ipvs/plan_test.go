package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Each testdata/plan/NAME.yaml is manifests; its first lines "# plan FLAGS" are command lines that get it on standard
// input. NAME.golden is what a user sees of each: standard output, standard error, exit code. With UPDATE_GOLDEN=1 the
// results are written instead of compared.
func TestPlan(t *testing.T) {
	inputs, err := filepath.Glob("testdata/plan/*.yaml")
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
				flags, is := strings.CutPrefix(line, "# plan ")
				if !is {
					break
				}
				args := append([]string{"plan", "--manifests", "-"}, strings.Fields(flags)...)
				stdout, stderr, code := kubeIPVS(t, string(manifests), args...)
				fmt.Fprintf(&got, "$ kube-ipvs plan %s--- stdout\n%s--- stderr\n%s--- exit code %d\n\n", flags, stdout, stderr, code)
			}
			compareGolden(t, strings.TrimSuffix(input, ".yaml")+".golden", got.String())
		})
	}
}

// kubeIPVS runs a command line in this process.
func kubeIPVS(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestPlanForIpvsadmIsATableThatParsesBack(t *testing.T) {
	manifests, err := os.ReadFile("testdata/plan/two_networks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	stdout, _, _ := kubeIPVS(t, string(manifests), "plan", "--manifests", "-", "--node-name", "node1", "-o", "ipvsadm")
	table, err := ipvs.ParseSave(strings.NewReader(stdout))
	if err != nil {
		t.Fatal(err)
	}
	if len(table) == 0 {
		t.Error("the plan is empty")
	}
}

func TestPlanSaysWhatIsWrongWithItsCommandLine(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		wants []string
	}{
		{"nothing given", nil, []string{"--manifests is missing", "--node-name is missing"}},
		{"unknown format", []string{"--manifests", "-", "--node-name", "n", "-o", "xml"}, []string{`-o "xml": write table, wide, json or yaml, or ipvsadm`}},
		{
			"several bad entries at once",
			[]string{"--manifests", "-", "--node-name", "n", "--nodeport-addresses", "10.0.0.1,localhost", "--ipvs-scheduler", "fastest"},
			[]string{"10.0.0.1/32", "localhost", `unknown scheduler "fastest"`},
		},
		{"bad node address", []string{"--manifests", "-", "--node-name", "n", "--node-addresses", "10.0.0.1"}, []string{"--node-addresses", "INTERFACE=ADDRESS/LENGTH"}},
		{"path that does not exist", []string{"--manifests", "/does/not/exist", "--node-name", "n"}, []string{"/does/not/exist"}},
		{"unknown flag", []string{"--node", "n"}, []string{"--node"}},
		{"argument", []string{"file.yaml"}, []string{"file.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, code := kubeIPVS(t, "kind: Node\napiVersion: v1\nmetadata: {name: node1}\n", append([]string{"plan"}, c.args...)...)
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
