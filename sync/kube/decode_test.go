package kube

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		webYAML, brokenYAML, webYAML + "---\n" + apiYAML, "{}", "--- {a: b}\n...\n---", "%YAML 1.1\n---\n", "\ufeff" + webYAML,
		`{"apiVersion":"v1","kind":"List","items":[{"kind":"Service"},null,7]}{"kind":1}`, "a: &a [*a]", "? {}\n: x", "null", "- ",
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {a: true, b: [3]}}\nspec: {ports: [{port: \"80\"}, {name: y}, 7]}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, annotation: {}}\nspec: {port: [], ports: [{nodPort: 1.5}], \"a\\\"b\": 1}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, creationTimestamp: yesterday}\n", "apiVersion: v1\nkind: servces\n",
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
		for _, fault := range d.faults { // which speak of what stands in the file, not of Go
			if fault.where == "" || fault.message == "" || !bytes.Contains(data, []byte("v1.")) && strings.Contains(fault.message, "v1.") {
				t.Fatalf("fault %+v", fault)
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
