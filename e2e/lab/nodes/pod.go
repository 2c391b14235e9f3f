package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// ReadyAnnotation is the readiness probe of a Pod: "false" is a probe that fails.
const ReadyAnnotation = "lab.kube-ipvs.io/ready"

// worker is the life of one Pod on its node.
type worker struct {
	kubelet *kubelet
	key     string // NAMESPACE/NAME
	uid     types.UID
	node    *topo.Host
	updates chan *corev1.Pod // the newest state that was not looked at yet
	stop    context.CancelFunc

	running chan struct{} // closed when server is set, or never
	server  server
	at      *topo.Host
	started metav1.Time

	ready   bool        // as it was reported last
	readied metav1.Time // when that began; zero before the first report
}

// server is a topo.Pod or a topo.HostServer.
type server interface {
	Shutdown(ctx context.Context) error
	Close() error
}

// newWorker starts a Pod, if its node is one of ours.
func (k *kubelet) newWorker(ctx context.Context, pod *corev1.Pod) *worker {
	w := &worker{
		kubelet: k, key: pod.Namespace + "/" + pod.Name, uid: pod.UID,
		updates: make(chan *corev1.Pod, 1), running: make(chan struct{}), started: metav1.Now(),
	}
	switch pod.Spec.NodeName {
	case Node1:
		w.node = k.network.Node1
	case Node2:
		w.node = k.network.Node2
	default:
		return nil
	}
	ctx, w.stop = context.WithCancel(ctx)
	go w.run(ctx, pod)
	return w
}

// update hands over the newest state.
func (w *worker) update(pod *corev1.Pod) {
	select {
	case <-w.updates: // outdated
	default:
	}
	w.updates <- pod
}

func (w *worker) host() *topo.Host {
	select {
	case <-w.running:
		return w.at
	default:
		return nil
	}
}

func (w *worker) run(ctx context.Context, pod *corev1.Pod) {
	addresses, err := w.serve(ctx, pod)
	if err != nil {
		complain(fmt.Errorf("start pod %s: %w", w.key, err))
		return
	}
	defer func() { _ = w.server.Close() }()
	close(w.running)
	var reported, terminating bool
	var last bool // the readiness that was reported
	unready := make(chan struct{})
	for {
		select {
		case <-ctx.Done():
			return
		case <-unready:
			w.report(ctx, addresses, false)
			unready = nil
			last = false
		case pod := <-w.updates:
			ready := unready != nil && pod.Annotations[ReadyAnnotation] != "false"
			if !reported || ready != last {
				w.report(ctx, addresses, ready)
				reported, last = true, ready
			}
			if pod.DeletionTimestamp != nil && !terminating {
				terminating = true
				go w.terminate(ctx, pod, unready)
			}
		}
	}
}

// serve starts the Pod's server.
func (w *worker) serve(ctx context.Context, pod *corev1.Pod) ([]corev1.PodIP, error) {
	if pod.Spec.HostNetwork {
		s, err := w.kubelet.network.AddHostServer(ctx, w.node, pod.Name, hostPort(pod))
		if err != nil {
			return nil, err
		}
		w.server, w.at = s, w.node
		return []corev1.PodIP{{IP: s.Addr4.String()}, {IP: s.Addr6.String()}}, nil
	}
	p, err := w.kubelet.network.AddPod(ctx, w.node, pod.Name)
	if err != nil {
		return nil, err
	}
	w.server, w.at = p, p.Host
	return []corev1.PodIP{{IP: p.Addr4.String()}, {IP: p.Addr6.String()}}, nil
}

// hostPort is the first port that a Pod with hostNetwork asks for.
func hostPort(pod *corev1.Pod) uint16 {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			return uint16(p.ContainerPort)
		}
	}
	return topo.Port
}

// terminate ends the Pod as a kubelet does: first its preStop sleep, then SIGTERM, at which a good server takes nothing
// new and finishes what it has, and at the end of the grace period, which has begun with the sleep, SIGKILL.
func (w *worker) terminate(ctx context.Context, pod *corev1.Pod, unready chan<- struct{}) {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if pod.DeletionGracePeriodSeconds != nil {
		grace = *pod.DeletionGracePeriodSeconds
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(grace)*time.Second)
	defer cancel()
	select {
	case <-time.After(preStop(pod)):
	case <-limited.Done():
	}
	if ctx.Err() != nil {
		return
	}
	close(unready) // its probe fails from now on
	_ = w.server.Shutdown(limited)
	_ = w.server.Close()
	at := int64(0)
	persist(ctx, "delete "+w.key, func(ctx context.Context) error {
		return w.kubelet.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &at, Preconditions: &metav1.Preconditions{UID: &w.uid},
		})
	})
}

// preStop is how long the Pod's containers sleep before they are told to end.
func preStop(pod *corev1.Pod) time.Duration {
	var longest time.Duration
	for _, c := range pod.Spec.Containers {
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
			longest = max(longest, time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second)
		}
	}
	return longest
}

// report patches the Pod's status. The time of its readiness is that of the change: the endpoint slice controller takes a
// newer one for a change of endpoints, and has it in the annotation from which network programming latency is measured.
func (w *worker) report(ctx context.Context, addresses []corev1.PodIP, ready bool) {
	if w.readied.IsZero() || ready != w.ready {
		w.ready, w.readied = ready, metav1.Now()
	}
	is := corev1.ConditionFalse
	if ready {
		is = corev1.ConditionTrue
	}
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &w.started,
		HostIP: w.node.A4.String(), HostIPs: []corev1.HostIP{{IP: w.node.A4.String()}, {IP: w.node.A6.String()}},
		PodIP: addresses[0].IP, PodIPs: addresses,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: w.started},
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: w.started},
			{Type: corev1.ContainersReady, Status: is, LastTransitionTime: w.readied},
			{Type: corev1.PodReady, Status: is, LastTransitionTime: w.readied},
		},
	}
	// The UID keeps it from a Pod of the same name that came after this one.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.uid}, "status": status})
	if err != nil {
		complain(fmt.Errorf("status of %s: %w", w.key, err))
		return
	}
	persist(ctx, "patch status of "+w.key, func(ctx context.Context) error {
		namespace, name, _ := strings.Cut(w.key, "/")
		_, err := w.kubelet.client.CoreV1().Pods(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	})
}

// persist repeats a request to the API server until it is done, or pointless. The API server may be away.
func persist(ctx context.Context, what string, request func(context.Context) error) {
	const patience, pause = 5 * time.Second, 200 * time.Millisecond
	for {
		limited, cancel := context.WithTimeout(ctx, patience)
		err := request(limited)
		cancel()
		switch {
		case err == nil, ctx.Err() != nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return // done, or the object is no more
		case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
			complain(fmt.Errorf("%s: %w", what, err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
