package kube

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is thrown away makes no difference to the result. The labels of a Node come by themselves, as its metadata.
func TestStrippedObjectsMeanTheSame(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no scenario found: %v", err)
	}
	services := 0
	for _, input := range inputs {
		content, err := os.ReadFile(input)
		must(t, err)
		options := testOptions()
		options.SpecSourceRanges = true
		small := newStripper(time.Time{})
		whole, stripped := newState(options, ""), newState(options, "")
		for _, o := range decode(input, content).objects {
			value, err := small.strip(o.value)
			must(t, err)
			for s, value := range map[*State]any{whole: o.value, stripped: value} {
				m := Manifests{State: s}
				m.set(object{key: o.key, value: value.(metav1.Object)})
			}
			if n, is := o.value.(*corev1.Node); is {
				labels, err := small.strip(&metav1.PartialObjectMetadata{ObjectMeta: n.ObjectMeta})
				must(t, err)
				stripped.setNodeLabels(n.Name, labels.(*metav1.PartialObjectMetadata).Labels)
			}
		}
		whole.setSynced()
		stripped.setSynced()
		want, _ := whole.Next()
		got, _ := stripped.Next()
		services += len(want.Services)
		if diff := cmp.Diff(want, got, compareValues()...); diff != "" {
			t.Errorf("%s (-whole +stripped):\n%s", input, diff)
		}
	}
	if services == 0 {
		t.Error("no Service compared")
	}
}

func TestStripForgetsTheRest(t *testing.T) {
	svc := webService("web", 30080)
	svc.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "kube-ipvs.io/scheduler": "rr"}
	svc.Labels = map[string]string{"app": "web"}
	svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	svc.Spec.Selector = map[string]string{"app": "web"}
	small, err := newStripper(time.Time{}).strip(svc)
	must(t, err)
	want := webService("web", 30080)
	want.Annotations = map[string]string{"kube-ipvs.io/scheduler": "rr"}
	if diff := cmp.Diff(want, small); diff != "" {
		t.Errorf("stripped (-want +got):\n%s", diff)
	}
}
