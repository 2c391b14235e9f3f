package report

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Values of annotations are anything, and -o json is read on terminals too: what is written there means the same, and does nothing.
func TestNoFormatHasWhatATerminalObeys(t *testing.T) {
	lines := map[Format]int{Table: 15, Wide: 18}
	for _, hostile := range []string{"\x1b[2J", "\u009b2J", "a\u202eb", "a\u200bb", "\U000e0041", "a\nb\x7f", "a\rb\u2028c", "\u202e\U000e0041", "\ufeff", "a\nb", "tab\tand \U0001f600", "plain ü ✓"} {
		want := Status{Agent: true, Node: hostile, Services: []ServiceStatus{{Namespace: hostile, Name: hostile, Ports: []PortStatus{{Port: hostile, Reason: hostile}}}}, Problems: []Problem{{Message: hostile}}}
		for _, f := range Formats() {
			var b strings.Builder
			if err := Write(&b, f, want); err != nil {
				t.Fatal(err)
			}
			if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && r != '\t' && !strconv.IsPrint(r) }); i >= 0 {
				t.Errorf("%s of %q: %q", f, hostile, b.String()[max(0, i-20):min(len(b.String()), i+20)])
			}
			var got Status
			switch f {
			case JSON:
				if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
					t.Errorf("JSON of %q: %v", hostile, err)
				}
			case YAML:
				if err := yaml.Unmarshal([]byte(b.String()), &got); err != nil {
					t.Errorf("YAML of %q: %v", hostile, err)
				}
			case Table, Wide:
				if n := strings.Count(b.String(), "\n"); n != lines[f] {
					t.Errorf("%s of %q has %d lines, want %d:\n%s", f, hostile, n, lines[f], b.String())
				}
				continue
			}
			if got.Node != hostile || !reflect.DeepEqual(got.Services, want.Services) || got.Problems[0].Message != hostile {
				t.Errorf("%s of %q is read as %+v", f, hostile, got)
			}
		}
	}
}
