package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The agent as deploy/kustomize/base installs it.
const (
	agentNamespace = metav1.NamespaceSystem
	agentName      = "kube-ipvs"
	agentContainer = "agent"
	agentLabels    = "app.kubernetes.io/name=" + agentName
	agentPort      = 10356 // healthz
)

// RollAgents implements suite.Provider, as kubectl rollout restart does.
func (c *Cluster) RollAgents(ctx context.Context) error {
	c.judge(ctx) // the logs go with the Pods
	daemonSets := c.client.AppsV1().DaemonSets(agentNamespace)
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`,
		time.Now().Format(time.RFC3339Nano))
	d, err := daemonSets.Patch(ctx, agentName, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("restart agents: %w", err)
	}
	err = poll(ctx, rollPatience, func(ctx context.Context) (bool, error) {
		now, err := daemonSets.Get(ctx, agentName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		d = now
		return rolled(d), nil
	})
	if err != nil {
		return fmt.Errorf("restart agents: of %d, %d are new and %d available: %w", d.Status.DesiredNumberScheduled,
			d.Status.UpdatedNumberScheduled, d.Status.NumberAvailable, err)
	}
	return nil
}

// rolled says whether every node has an agent of the present template, and all are available.
func rolled(d *appsv1.DaemonSet) bool {
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.DesiredNumberScheduled > 0 &&
		s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled
}

// Verdict implements suite.Provider. What authorization refuses is seen only where the agents complain of it: the API
// server of kind keeps no audit log.
func (c *Cluster) Verdict() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	c.judge(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}

// judge looks for what went wrong with the agents that there are now.
func (c *Cluster) judge(ctx context.Context) {
	pods, err := c.agents(ctx)
	errs := []error{err}
	if err == nil && len(pods) == 0 {
		errs = append(errs, fmt.Errorf("find agents: no Pod is labelled %s", agentLabels))
	}
	for _, p := range pods {
		log, err := c.agentLog(ctx, p.Name)
		errs = append(errs, err)
		for _, line := range refusals(log) {
			errs = append(errs, fmt.Errorf("agent of %s: %s", p.Spec.NodeName, line))
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.RestartCount > 0 {
				errs = append(errs, fmt.Errorf("agent of %s: restarted %d times", p.Spec.NodeName, s.RestartCount))
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range errs {
		if err != nil {
			c.errs = append(c.errs, err)
		}
	}
}

// refusals are the lines in which somebody complains of authorization.
func refusals(log string) []string {
	var found []string
	for line := range strings.Lines(log) {
		if strings.Contains(strings.ToLower(line), "forbidden") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// Diagnosis implements suite.Provider.
func (c *Cluster) Diagnosis(ctx context.Context) string {
	var b strings.Builder
	pods, err := c.agents(ctx)
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	for _, p := range pods {
		log, err := c.agentLog(ctx, p.Name)
		fmt.Fprintf(&b, "--- agent of %s (%v)\n%s\n", p.Spec.NodeName, err, lastLines(log, 40))
	}
	for _, n := range c.nodes {
		var table string
		pod, err := c.podOn(n.Name)
		if err == nil {
			table, err = c.exec.output(ctx, pod, "table")
		}
		fmt.Fprintf(&b, "--- IPVS of %s (%v)\n%s\n", n.Name, err, table)
	}
	return b.String()
}

func (c *Cluster) agents(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := c.client.CoreV1().Pods(agentNamespace).List(ctx, metav1.ListOptions{LabelSelector: agentLabels})
	if err != nil {
		return nil, fmt.Errorf("find agents: %w", err)
	}
	return pods.Items, nil
}

func (c *Cluster) agentLog(ctx context.Context, pod string) (string, error) {
	log, err := c.client.CoreV1().Pods(agentNamespace).GetLogs(pod, &corev1.PodLogOptions{Container: agentContainer}).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("read log of %s: %w", pod, err)
	}
	return string(log), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
