//go:build cluster

package kindcluster

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

func TestAnAPIServerTakesTheServersAndWhatAsksFromNodes(t *testing.T) {
	builder, err := cluster.NewBuilder(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := builder.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plane, err := cluster.Start(t.Context(), cluster.Options{Binaries: programs, Controllers: []string{"namespace-controller"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := plane.Close(); err != nil {
			t.Error(err)
		}
	}()
	client, err := kubernetes.NewForConfig(plane.Admin())
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t.Context(), plane.Admin(), client, nil, os.Stderr)
	c.probing = true
	for range 2 { // the second finds what the first has left
		if err := createProbes(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	for _, hostNetwork := range []bool{false, true} {
		server := c.Server()
		if hostNetwork {
			server.Ports = []corev1.ContainerPort{{ContainerPort: hostPort, HostPort: hostPort}}
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "server-", Namespace: probeName},
			Spec:       corev1.PodSpec{HostNetwork: hostNetwork, AutomountServiceAccountToken: new(false), Containers: []corev1.Container{server}},
		}
		pods := client.CoreV1().Pods(probeName)
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}); err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), probeName, metav1.GetOptions{}); err == nil {
		t.Error("its namespace is left behind")
	}
}
