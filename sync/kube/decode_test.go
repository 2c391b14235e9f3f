package kube

import (
	"strings"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		webYAML, brokenYAML, webYAML + "---\n" + apiYAML, "{}", "--- {a: b}\n...\n---", "%YAML 1.1\n---\n", "\ufeff" + webYAML,
		`{"apiVersion":"v1","kind":"List","items":[{"kind":"Service"},null,7]}{"kind":1}`, "a: &a [*a]", "? {}\n: x", "null", "- ",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := decode("f", data)
		for _, o := range d.objects {
			if o.key.name == "" || o.value == nil || o.where == "" {
				t.Fatalf("incomplete object %+v", o)
			}
		}
		if d.documents == 0 && (len(d.objects) > 0 || len(d.faults) > 0) {
			t.Fatalf("something out of nothing: %+v", d)
		}
		update, err := ReadManifests("-", strings.NewReader(string(data)), testOptions())
		if err == nil && d.broken() != update.Incomplete {
			t.Fatalf("broken input that counts as complete: %+v", update)
		}
	})
}
