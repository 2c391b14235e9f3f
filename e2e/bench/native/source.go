package native

import (
	"context"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// version is the resource version of everything.
const version = "1"

// newInformers are the agent's own, before an API server that has the objects of a plan.
func newInformers(plan objects.Plan) *kube.Informers {
	client := kube.Client{
		Services: lister[*corev1.ServiceList](func() *corev1.ServiceList {
			list := &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: version}}
			for i := range plan.Largest() {
				service := plan.Service(i)
				service.ResourceVersion = version
				list.Items = append(list.Items, *service)
			}
			return list
		}),
		EndpointSlices: lister[*discoveryv1.EndpointSliceList](func() *discoveryv1.EndpointSliceList {
			list := &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: version}}
			for i := range plan.Largest() {
				slice := plan.Slice(i)
				slice.ResourceVersion = version
				list.Items = append(list.Items, *slice)
			}
			return list
		}),
		Nodes: lister[*corev1.NodeList](func() *corev1.NodeList {
			return &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: version}, Items: []corev1.Node{node()}}
		}),
	}
	return kube.NewInformers(client, kube.Options{NodeName: objects.Node}, logr.Discard())
}

// node is the one that serves.
func node() corev1.Node {
	n := corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: objects.Node, ResourceVersion: version},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}},
	}
	for _, addr := range objects.Addresses() {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	return n
}

// lister is the part of an API server that has the objects of one kind. They are made when they are asked for, so that only
// the informers keep them, and nothing changes.
type lister[L runtime.Object] func() L

// List implements kube.Lister.
func (l lister[L]) List(context.Context, metav1.ListOptions) (L, error) { return l(), nil }

// Watch implements kube.Lister.
func (l lister[L]) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// IsWatchListSemanticsUnSupported is what client-go asks for: a list comes as a whole here.
func (l lister[L]) IsWatchListSemanticsUnSupported() bool { return true }
