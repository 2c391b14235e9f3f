package nodes

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// kubelet runs the pods of all nodes, and finds a node for those that have none.
type kubelet struct {
	client  kubernetes.Interface
	network *topo.Topology

	mu      sync.Mutex
	workers map[types.UID]*worker
	placed  map[types.UID]placement // pods with a node, or about to have one
}

type placement struct{ namespace, node string }

func newKubelet(client kubernetes.Interface, network *topo.Topology) *kubelet {
	return &kubelet{client: client, network: network, workers: map[types.UID]*worker{}, placed: map[types.UID]placement{}}
}

// start follows the Pods until ctx ends.
func (k *kubelet) start(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(k.client, 0)
	pods := factory.Core().V1().Pods().Informer()
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.see(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { k.see(ctx, o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			k.forget(o.(*corev1.Pod))
		},
	})
	if err != nil {
		return fmt.Errorf("follow pods: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return fmt.Errorf("follow pods: %w", context.Cause(ctx))
	}
	return nil
}

// see takes the present state of a Pod.
func (k *kubelet) see(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if pod.Spec.NodeName == "" {
		if _, done := k.placed[pod.UID]; !done && pod.DeletionTimestamp == nil {
			node := k.place(pod)
			go k.bind(ctx, pod, node)
		}
		return
	}
	k.placed[pod.UID] = placement{pod.Namespace, pod.Spec.NodeName}
	w := k.workers[pod.UID]
	if w == nil {
		w = k.newWorker(ctx, pod)
		if w == nil {
			return // another's node
		}
		k.workers[pod.UID] = w
	}
	w.update(pod)
}

// forget ends what a Pod that is no more has left.
func (k *kubelet) forget(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.placed, pod.UID)
	if w := k.workers[pod.UID]; w != nil {
		delete(k.workers, pod.UID)
		w.stop()
	}
}

// place chooses the node that has the fewest Pods of the namespace.
func (k *kubelet) place(pod *corev1.Pod) string {
	count := map[string]int{}
	for _, p := range k.placed {
		if p.namespace == pod.Namespace {
			count[p.node]++
		}
	}
	node := slices.MinFunc([]string{Node1, Node2}, func(a, b string) int { return cmp.Compare(count[a], count[b]) })
	k.placed[pod.UID] = placement{pod.Namespace, node}
	return node
}

func (k *kubelet) bind(ctx context.Context, pod *corev1.Pod, node string) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	persist(ctx, "bind "+pod.Namespace+"/"+pod.Name, func(ctx context.Context) error {
		return k.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	})
}

// host returns a pod, by NAMESPACE/NAME, as a place to ask from. A pod with hostNetwork is its node.
func (k *kubelet) host(place string) *topo.Host {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if w.key == place {
			return w.host()
		}
	}
	return nil
}

// complain says what the host's log should have.
func complain(err error) { fmt.Fprintln(os.Stderr, "nodes:", err) }
