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

// Each testdata/manifests/NAME.yaml is what somebody may write, NAME.golden what is read from it. With UPDATE_GOLDEN=1
// the results are written instead of compared, here and in TestRules.
func TestManifestsAreReadAsMeant(t *testing.T) {
	scenarios(t, "testdata/manifests", func(_ *testing.T, content []byte) string {
		update, err := ReadManifests("-", bytes.NewReader(content), testOptions())
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return render(update)
	})
}

// scenarios runs a test for each YAML file of a directory and compares the result with the golden file beside it.
func scenarios(t *testing.T, dir string, result func(t *testing.T, content []byte) string) {
	inputs, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no scenario found: %v", err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(input)
			must(t, err)
			compareGolden(t, strings.TrimSuffix(input, ".yaml")+".golden", result(t, content))
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
