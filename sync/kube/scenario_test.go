package kube

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testOptions() Options {
	return Options{NodeName: "node-a", NodeNeeded: true, AllowedSchedulers: []string{"rr", "wrr", "lc", "sh", "mh"}}
}

// Each testdata/rules/NAME.yaml is manifests, NAME.golden what they mean. A first line "# proxy-name: X" sets the option.
// With UPDATE_GOLDEN=1 the results are written instead of compared.
func TestRules(t *testing.T) {
	inputs, err := filepath.Glob("testdata/rules/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no scenario found: %v", err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			options := testOptions()
			first, _, _ := strings.Cut(string(content), "\n")
			if proxy, ok := strings.CutPrefix(first, "# proxy-name: "); ok {
				options.ServiceProxyName = proxy
			}
			update, err := ReadManifests("-", bytes.NewReader(content), options)
			got := render(update)
			if err != nil {
				got = "error: " + err.Error() + "\n"
			}
			compareGolden(t, strings.TrimSuffix(input, ".yaml")+".golden", got)
		})
	}
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
