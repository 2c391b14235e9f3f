package kindcluster

import (
	"context"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// What deploy/kind/run.sh builds and loads into the nodes.
const (
	image   = "kube-ipvs-suite:dev"
	program = "/server"
)

const (
	containerName = "server"
	probeName     = "kube-ipvs-suite" // of the namespace and the DaemonSet that ask from nodes
	probeLabel    = "app"
	hostPort      = 9090 // which cases ask for in Pods with hostNetwork
)

// Server implements suite.Provider. It serves the port that Pods with hostNetwork have, too, since a container is not
// told what ports it declares.
func (c *Cluster) Server() corev1.Container {
	return corev1.Container{
		Name: containerName, Image: image, ImagePullPolicy: corev1.PullNever,
		Command: []string{program, "serve", "-ports", strconv.Itoa(topo.Port) + "," + strconv.Itoa(hostPort)},
		Env:     []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("POD_IPS", "status.podIPs")},
		Ports:   []corev1.ContainerPort{{ContainerPort: topo.Port}},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{program, "ready"}}},
			PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 1,
		},
	}
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

// createProbes puts a Pod with the node's network on each node that takes Pods, anew if an earlier run left some.
func createProbes(ctx context.Context, client kubernetes.Interface) error {
	if err := deleteProbes(ctx, client); err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: probeName}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create namespace %s: %w", probeName, err)
	}
	labels := map[string]string{probeLabel: probeName}
	d := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: probeName},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					HostNetwork:                  true,
					AutomountServiceAccountToken: new(false),
					Containers: []corev1.Container{{
						Name: containerName, Image: image, ImagePullPolicy: corev1.PullNever, Command: []string{program, "idle"},
					}},
				},
			},
		},
	}
	if _, err := client.AppsV1().DaemonSets(probeName).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create daemonset %s: %w", probeName, err)
	}
	return nil
}

// waitProbes waits until the Pods of all nodes run.
func (c *Cluster) waitProbes(ctx context.Context) error {
	var last error
	err := poll(ctx, readyPatience, func(context.Context) (bool, error) {
		for _, n := range c.nodes {
			if _, last = c.podOn(n.Name); last != nil {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the Pods to ask from: %w: %w", err, last)
	}
	return nil
}

// podOn finds the running Pod on a node's network.
func (c *Cluster) podOn(node string) (podName, error) {
	pods, err := c.client.CoreV1().Pods(probeName).List(c.life, metav1.ListOptions{LabelSelector: probeLabel + "=" + probeName})
	if err != nil {
		return podName{}, fmt.Errorf("find pod on %s: %w", node, err)
	}
	for _, p := range pods.Items {
		if p.Spec.NodeName == node && p.Status.Phase == corev1.PodRunning {
			return podName{p.Namespace, p.Name}, nil
		}
	}
	return podName{}, fmt.Errorf("no pod to ask from runs on %s", node)
}

// deleteProbes removes them, if they are there, and waits for their end.
func deleteProbes(ctx context.Context, client kubernetes.Interface) error {
	namespaces := client.CoreV1().Namespaces()
	err := namespaces.Delete(ctx, probeName, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = poll(ctx, closePatience, func(ctx context.Context) (bool, error) {
			_, err := namespaces.Get(ctx, probeName, metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
	}
	if err != nil {
		return fmt.Errorf("delete namespace %s: %w", probeName, err)
	}
	return nil
}

// poll asks until it is done. Errors end it.
func poll(ctx context.Context, patience time.Duration, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, pollPause, patience, true, done)
}
