package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
)

// writers is how many objects are created at a time: more only meet at the API server's lists of cluster IPs and node ports.
const writers = 16

// createObjects makes everything that any subject sees.
func (b *bench) createObjects(ctx context.Context) error {
	config := b.Plane.Admin()
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create objects: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: objects.Namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create objects: %w", err)
	}
	services, slices := client.CoreV1().Services(objects.Namespace), client.DiscoveryV1().EndpointSlices(objects.Namespace)
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(writers)
	plan := b.job.Plan
	for i := range plan.Largest() {
		all.Go(func() error {
			_, err := services.Create(ctx, plan.Service(i), metav1.CreateOptions{})
			if err == nil {
				_, err = slices.Create(ctx, plan.Slice(i), metav1.CreateOptions{})
			}
			if err != nil {
				return fmt.Errorf("create Service %d: %w", i, err)
			}
			return nil
		})
	}
	all.Go(func() error {
		service, both := plan.DataPath()
		_, err := services.Create(ctx, service, metav1.CreateOptions{})
		for _, s := range both {
			if err == nil {
				_, err = slices.Create(ctx, s, metav1.CreateOptions{})
			}
		}
		if err != nil {
			return fmt.Errorf("create Service %s: %w", service.Name, err)
		}
		return nil
	})
	return all.Wait()
}
