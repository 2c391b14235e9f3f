package kindcluster

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
)

// followReadiness tells the servers what the annotation nodes.ReadyAnnotation of their Pods says, until ctx ends. Cases
// set the annotation, and a container does not see it change.
func (c *Cluster) followReadiness(ctx context.Context) error {
	told := map[types.UID]bool{} // of this one handler
	see := func(o any) {
		pod := o.(*corev1.Pod)
		is, said := pod.Annotations[nodes.ReadyAnnotation]
		ready := is != "false"
		before, ok := told[pod.UID]
		if !said || pod.Status.Phase != corev1.PodRunning || ok && before == ready {
			return
		}
		name := podName{pod.Namespace, pod.Name}
		if _, err := c.exec.output(ctx, name, "ready", strconv.FormatBool(ready)); err != nil {
			c.say("readiness of %s: %v", name, err) // told again when the Pod changes
			return
		}
		told[pod.UID] = ready
	}
	factory := informers.NewSharedInformerFactory(c.client, 0)
	pods := factory.Core().V1().Pods().Informer()
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, o any) { see(o) },
	}); err != nil {
		return fmt.Errorf("follow pods: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return fmt.Errorf("follow pods: %w", context.Cause(ctx))
	}
	return nil
}
