// Package deploy tests what is installed on clusters: that kustomize and Helm render the same objects, that the API server
// takes them, that the agent knows their flags, and that they allow what it needs and no more.
//
// It is a module of its own, so that the agent's does not depend on kustomize, Helm and kind.
package deploy

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// system is the namespace that agents are in, if nothing else is said.
const system = "kube-system"

// object is a rendered object as it would be sent to the API server.
type object map[string]any

// key names an object: "DaemonSet kube-ipvs".
func (o object) key() string { return fmt.Sprint(o["kind"], " ", o.at("metadata", "name")) }

// at is the value at a path, nil if there is none.
func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// kustomize renders a directory below deploy/.
func kustomize(t *testing.T, dir string) []object {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", dir))
	if err != nil {
		t.Fatalf("kustomize build %s: %v", dir, err)
	}
	text, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return split(t, dir, string(text))
}

// helm renders the chart with values in YAML over its own.
func helm(t *testing.T, values string) []object {
	t.Helper()
	files, err := renderChart(t.Context(), system, values)
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			all = append(all, split(t, name, files[name])...)
		}
	}
	return all
}

func renderChart(ctx context.Context, namespace, values string) (map[string]string, error) {
	chart, err := loader.Load(filepath.Join("..", "helm", "kube-ipvs"))
	if err != nil {
		return nil, err
	}
	over := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &over); err != nil {
		return nil, err
	}
	release := common.ReleaseOptions{Name: "kube-ipvs", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, over, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	strict := engine.Engine{Strict: true} // a value that does not exist is an error
	return strict.RenderWithContext(ctx, chart, all)
}

func split(t *testing.T, name, text string) []object {
	t.Helper()
	var all []object
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		o := object{}
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, doc)
		}
		if len(o) > 0 {
			all = append(all, o)
		}
	}
	return all
}

// find is the only object of a kind, or the one of a name.
func find(t *testing.T, all []object, kind string, name ...string) object {
	t.Helper()
	var found []object
	for _, o := range all {
		if o["kind"] == kind && (len(name) == 0 || o.at("metadata", "name") == name[0]) {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want one", len(found), kind)
	}
	return found[0]
}
