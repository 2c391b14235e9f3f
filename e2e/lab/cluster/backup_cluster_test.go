//go:build cluster

package cluster

import (
	"errors"
	"io/fs"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestARestoredControlPlaneHasWhatItHadAtItsBackupAndGoesOn(t *testing.T) {
	c := start(t, Options{})
	k := client(t, c.Admin())
	if err := c.Restore(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a backup: %v", err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{corev1.LabelTopologyZone: "zone1"}}}
	must[*corev1.Node](t)(k.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}))
	addPod(t, k, 2)
	began := time.Now()
	if err := c.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("backed up in %v", time.Since(began).Round(time.Millisecond))
	addService(t, k)
	const writes = 100
	for range writes {
		pod := must[*corev1.Pod](t)(k.CoreV1().Pods("default").Get(t.Context(), "web-2", metav1.GetOptions{}))
		pod.Labels["count"] = pod.ResourceVersion
		must[*corev1.Pod](t)(k.CoreV1().Pods("default").Update(t.Context(), pod, metav1.UpdateOptions{}))
	}
	before := podsVersion(t, k)
	began = time.Now()
	if err := c.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("restored in %v", time.Since(began).Round(time.Millisecond))
	if after := podsVersion(t, k); after >= before {
		t.Errorf("the version went from %d to %d, not back", before, after)
	}
	if _, err := k.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Service from after the backup: %v, want it not found", err)
	}
	addService(t, k) // the controllers hear of it
	awaitEndpoints(t, k, map[string]string{"10.244.1.2": "ready serving node1 zone1", "fd44:1::2": "ready serving node1 zone1"})
}

func podsVersion(t *testing.T, k *kubernetes.Clientset) int {
	t.Helper()
	list := must[*corev1.PodList](t)(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}))
	return must[int](t)(strconv.Atoi(list.ResourceVersion))
}
