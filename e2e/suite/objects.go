package suite

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"
)

// label is what Services of a case select their Pods by.
const label = "app"

// Names of the ports that Service has.
const (
	TCPPort = "tcp"
	UDPPort = "udp"
)

// Service creates a dual-stack NodePort Service over TCP and UDP for the Pods of its name.
func (c *Case) Service(name string, changes ...func(*corev1.Service)) *corev1.Service {
	c.Helper()
	both := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{
		ObjectMeta: meta(name),
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{label: name}, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{
				{Name: TCPPort, Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)},
				{Name: UDPPort, Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)},
			},
		},
	}
	for _, change := range changes {
		change(s)
	}
	c.Create(s)
	return s
}

// Local is externalTrafficPolicy: Local.
func Local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// LoadBalancer is a Service of that type, for which nobody balances.
func LoadBalancer(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer }

// NodePort returns the node port of a port of a Service.
func NodePort(s *corev1.Service, port string) uint16 {
	for _, p := range s.Spec.Ports {
		if p.Name == port {
			return uint16(p.NodePort)
		}
	}
	return 0
}

// Pod creates a Pod of a Service on a node.
func (c *Case) Pod(service, node, name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	c.Helper()
	p := &corev1.Pod{ObjectMeta: meta(name), Spec: c.podSpec()}
	p.Labels[label] = service
	p.Spec.NodeName = node
	for _, change := range changes {
		change(p)
	}
	c.Create(p)
	return p
}

// PodOnEach creates a Pod of a Service on each node, by the name of Service and node.
func (c *Case) PodOnEach(service string) []string {
	c.Helper()
	var names []string
	for _, n := range c.Nodes() {
		names = append(names, c.Pod(service, n.Name, service+"-"+n.Name).Name)
	}
	return names
}

// podSpec is that of every Pod of the suite: one that gives clients time to learn that it leaves.
func (c *Case) podSpec() corev1.PodSpec {
	container := c.Server()
	container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
	return corev1.PodSpec{Containers: []corev1.Container{container}}
}

// Lingering is a Pod that serves on for long after it was told to end.
func Lingering(p *corev1.Pod) {
	const seconds = 600
	p.Spec.TerminationGracePeriodSeconds = new(int64(seconds))
	p.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds = seconds
}

// Deployment creates a Deployment whose Pods are behind the Service of its name, and waits for them.
func (c *Case) Deployment(name string, replicas int32) *appsv1.Deployment {
	c.Helper()
	d := &appsv1.Deployment{
		ObjectMeta: meta(name),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{label: name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{label: name}},
				Spec:       c.podSpec(),
			},
		},
	}
	c.Create(d)
	c.Rolled(d)
	return d
}

// Rolled waits until all Pods of a Deployment are of its present template and ready, and no other is left.
func (c *Case) Rolled(d *appsv1.Deployment) {
	c.Helper()
	c.Within(2*Patience, "roll-out of "+d.Name, func() error {
		if err := c.objects.Get(c.ctx, d.Name, c.Namespace, d); err != nil {
			return err
		}
		s, want := d.Status, *d.Spec.Replicas
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != want || s.ReadyReplicas != want || s.Replicas != want {
			return fmt.Errorf("of %d replicas %d are new, %d ready, %d there", want, s.UpdatedReplicas, s.ReadyReplicas, s.Replicas)
		}
		if pods := c.PodsOf(d.Name); len(pods) != int(want) { // those that end are no replicas
			return fmt.Errorf("pods are %v, want %d", pods, want)
		}
		return nil
	})
}

// PodsOf returns the names of the Pods of a Service.
func (c *Case) PodsOf(service string) []string {
	c.Helper()
	var pods corev1.PodList
	c.Must(c.objects.List(c.ctx, &pods, resources.WithLabelSelector(label+"="+service)))
	var names []string
	for _, p := range pods.Items {
		names = append(names, p.Name)
	}
	return names
}

// Taint taints a node until what is returned is called, or the case ends. No Pod has to leave.
func (c *Case) Taint(node, key string) (untaint func()) {
	c.Helper()
	c.Must(c.changeTaints(node, func(taints []corev1.Taint) []corev1.Taint {
		return append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}))
	return c.Afterwards(func() error {
		return c.changeTaints(node, func(taints []corev1.Taint) []corev1.Taint {
			return slices.DeleteFunc(taints, func(t corev1.Taint) bool { return t.Key == key })
		})
	})
}

func (c *Case) changeTaints(node string, change func([]corev1.Taint) []corev1.Taint) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		n := &corev1.Node{}
		if err := c.objects.Get(c.ctx, node, "", n); err != nil {
			return err
		}
		n.Spec.Taints = change(n.Spec.Taints)
		return c.objects.Update(c.ctx, n)
	})
	if err != nil {
		return fmt.Errorf("change taints of %s: %w", node, err)
	}
	return nil
}
