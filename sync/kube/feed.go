package kube

import (
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// What a feed is about, for people.
const (
	kindServices       = "Services"
	kindEndpointSlices = "EndpointSlices"
	kindThisNode       = "Node"
	kindNodeLabels     = "labels of Nodes"
)

// feed is an informer that hands what it sees to State.
type feed struct {
	kind     string
	informer cache.SharedIndexInformer
	// listed is done when State has had everything that was listed first.
	listed cache.DoneChecker
}

// noResync: what the agent remembers is compared with the kernel, never with itself.
const noResync = 0

// newInformer is an informer for the selected objects of one kind, of which example is one. Servers that can stream the
// first list are asked to: it is never in memory as a whole then.
func newInformer[T cache.Object, L runtime.Object](
	i *Informers, kind string, from Lister[L], example runtime.Object, selected func(*metav1.ListOptions),
) cache.TypedSharedIndexInformer[T] {
	r := newReader(i, kind, from, selected)
	source := &cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}
	return cache.NewTypedSharedIndexInformer[T](cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(source, from), example, noResync, cache.Indexers{}))
}

// newFeed connects an informer, which must not run yet, with the State's set and remove.
func newFeed[T interface {
	comparable
	metav1.Object
}](
	kind string, i *Informers, informer cache.TypedSharedIndexInformer[T], set func(T), remove func(types.NamespacedName),
) (feed, error) {
	err := errors.Join(
		informer.SetTransform(newStripper(i.State.log.started).strip),
		informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			i.watchFailed(kind, err)
		}))
	if err != nil {
		return feed{}, fmt.Errorf("watching %s: %w", kind, err)
	}
	handled, err := informer.AddTypedEventHandler(cache.TypedResourceEventHandlerFuncs[T]{
		AddFunc: func(added T) { i.change(func() { set(added) }) },
		// All objects are listed again when a watch breaks. State tells those that did not change by what is in them: the
		// same version may come twice with different things, from before and after a backup was restored.
		UpdateFunc: func(_, after T) { i.change(func() { set(after) }) },
		DeleteFunc: func(gone cache.DeletedObject[T]) {
			name := gone.GetObjectName()
			i.change(func() { remove(types.NamespacedName{Namespace: name.Namespace, Name: name.Name}) })
		},
	})
	if err != nil {
		return feed{}, fmt.Errorf("watching %s: %w", kind, err)
	}
	return feed{kind, informer, handled.HasSyncedChecker()}, nil
}

// watchFailed says what keeps the API server from being read. The informer tries again by itself, less and less often.
func (i *Informers) watchFailed(kind string, err error) {
	switch {
	case errors.Is(err, io.EOF): // A watch that ended in order.
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err), errors.Is(err, io.ErrUnexpectedEOF):
		i.log.V(4).Info("Watch broke, listing again", "kind", kind, "reason", err.Error())
	case apierrors.IsBadRequest(err) && kind == kindServices && i.selectAll.CompareAndSwap(false, true):
		i.log.Info("API server does not select Services by type, reading all of them", "reason", err.Error())
	default:
		i.log.Error(err, "API server cannot be read, trying again", "kind", kind)
	}
}
