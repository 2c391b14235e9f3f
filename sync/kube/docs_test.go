package kube

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// The table in docs/services.md says something of every field of the API, and of no other.
func TestEveryFieldIsDocumented(t *testing.T) {
	for title, kind := range map[string]any{"Service": corev1.Service{}, "EndpointSlice": discoveryv1.EndpointSlice{}} {
		fields := map[string]bool{}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(kind)) {
			if name := jsonName(f); f.Name != "TypeMeta" && name != "" && len(f.Index) == 1 {
				addFields(fields, name, f.Type)
			}
		}
		documented := map[string]bool{}
		for _, name := range documentedFields(t, title) {
			field, key, _ := strings.Cut(name, "[\"")
			if key == "" && documented[field] {
				t.Errorf("%s: %s has two rows", title, field)
			}
			documented[field] = documented[field] || key == ""
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(documented))); diff != "" {
			t.Errorf("%s (-API +docs/services.md):\n%s", title, diff)
		}
	}
}

// So does it of every label and annotation that is read.
func TestEveryLabelAndAnnotationIsDocumented(t *testing.T) {
	read := map[string][]string{
		"Service": {
			`metadata.labels["` + labelServiceProxyName + `"]`,
		},
		"EndpointSlice": {
			`metadata.labels["` + discoveryv1.LabelServiceName + `"]`,
			`metadata.labels["` + corev1.IsHeadlessService + `"]`,
		},
	}
	for _, a := range annotations() {
		read["Service"] = append(read["Service"], `metadata.annotations["`+a.key+`"]`)
	}
	for title, want := range read {
		var got []string
		for _, name := range documentedFields(t, title) {
			if strings.Contains(name, `["`) {
				got = append(got, name)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-read +docs/services.md):\n%s", title, diff)
		}
	}
}

// addFields adds the path of each field below name that has no fields of its own. Of packages other than k8s.io/api
// only the metadata is opened: a time or a condition is one thing.
func addFields(fields map[string]bool, name string, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && opened(t.Elem()):
		addFields(fields, name+"[]", t.Elem())
	case t.Kind() == reflect.Struct && opened(t):
		for i := range t.NumField() {
			addFields(fields, name+"."+jsonName(t.Field(i)), t.Field(i).Type)
		}
	default:
		fields[name] = true
	}
}

func opened(t reflect.Type) bool {
	return strings.HasPrefix(t.PkgPath(), "k8s.io/api/") || t.Name() == "ObjectMeta"
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// documentedFields are the names in the first column of the table below a title.
func documentedFields(t *testing.T, title string) []string {
	t.Helper()
	content, err := os.ReadFile("../../docs/services.md")
	must(t, err)
	_, section, found := strings.Cut(string(content), "\n## "+title+"\n")
	if !found {
		t.Fatalf("no section %s", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	quoted := regexp.MustCompile("`([^`]+)`")
	var names []string
	for line := range strings.Lines(section) {
		row, is := strings.CutPrefix(line, "| ")
		if !is {
			continue
		}
		first, _, _ := strings.Cut(row, " | ")
		for _, name := range quoted.FindAllStringSubmatch(first, -1) {
			names = append(names, name[1])
		}
	}
	return names
}

// docs/annotations.md is what the table says. UPDATE_GOLDEN=1 writes it.
func TestAnnotationsAreDocumentedFromTheirTable(t *testing.T) {
	const path = "../../docs/annotations.md"
	want := annotationsPage()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-table +file), UPDATE_GOLDEN=1 writes it:\n%s", path, diff)
	}
}

func annotationsPage() string {
	var b strings.Builder
	b.WriteString(`# Annotations of Services

<!-- written by go test ./sync/kube from the table in sync/kube/annotations.go -->

What the author of a Service may choose. ` + "`kube-ipvs plan`" + ` prints for each Service what is written and what of it is in force on a
node. A value that cannot be read counts as absent, with an Event; but one that restricts who reaches the Service closes it, since
it must not be open wider than its author asked for. Of more than 4096 bytes only lists of clients are read, and more than 32 annotations that do not exist close it too. No value touches another Service, and none is remembered: without its
annotations a Service is served as if it never had any.

`)
	for _, a := range annotations() {
		if a.read == nil {
			continue
		}
		otherwise := "no node port of the Service is served"
		if !a.restricts {
			otherwise = a.otherwise
		}
		fmt.Fprintf(&b, "## %s\n\n%s%s.\n\n- Written as: %s\n- Example: `%s: %q`\n- If it cannot be read: %s\n\n",
			a.key, strings.ToUpper(a.meaning[:1]), a.meaning[1:], a.values, a.key, a.example, otherwise)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
