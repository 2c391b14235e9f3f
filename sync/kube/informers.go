package kube

import (
	"context"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// sayWaiting is how often the log says which kinds the API server has not yet listed.
const sayWaiting = 10 * time.Second

// Informers is the source that reads the API server. Until it has listed Services, EndpointSlices and the Node there is
// no Update at all; when it cannot be reached later, what it said last stays.
type Informers struct {
	*State
	client Client
	log    logr.Logger
	// selectAll: the API server does not know the field selectors of Services, which came with Kubernetes 1.31.
	selectAll atomic.Bool
	readers   readers
	// tell writes an Event about an object, with its Reason and message; nil before Run.
	tell atomic.Pointer[func(about *corev1.ObjectReference, reason, message string)]
}

var _ sync.Source = (*Informers)(nil)

// NewInformers makes the source. The Node is always needed here: if there is none of that name, no endpoint is local
// and no Event finds its way, whatever chooses the addresses.
func NewInformers(client Client, o Options, log logr.Logger) *Informers {
	o.NodeNeeded = true
	return &Informers{
		State:  newState(o, "it is not known to the API server; is --hostname-override right?"),
		client: client,
		log:    log,
	}
}

// Run is that of sync.Source. All of its goroutines have ended when it returns, but those that write Events, which end too.
func (i *Informers) Run(ctx context.Context) error {
	feeds, err := i.feeds()
	if err != nil {
		return err
	}
	i.recordEvents(ctx)
	var running stdsync.WaitGroup
	defer running.Wait()
	for _, f := range feeds {
		running.Go(func() { f.informer.RunWithContext(logr.NewContext(ctx, i.log)) })
	}
	labelsListed := make(chan struct{})
	var labels error
	running.Go(func() { labels = i.followLabels(logr.NewContext(ctx, i.log), labelsListed) })
	if i.waitForLists(ctx, feeds) {
		i.awaitLabels(ctx, labelsListed)
		i.change(i.setSynced)
	}
	<-ctx.Done()
	running.Wait()
	return labels
}

func (i *Informers) feeds() ([]feed, error) {
	services, err := newFeed(kindServices, i,
		newInformer[*corev1.Service](i, kindServices, i.client.Services, &corev1.Service{}, i.selectServices),
		i.setService, i.deleteService)
	if err != nil {
		return nil, err
	}
	endpointSlices, err := newFeed(kindEndpointSlices, i,
		newInformer[*discoveryv1.EndpointSlice](i, kindEndpointSlices, i.client.EndpointSlices, &discoveryv1.EndpointSlice{}, selectSlices),
		i.setSlice, i.deleteSlice)
	if err != nil {
		return nil, err
	}
	node, err := newFeed(kindThisNode, i,
		newInformer[*corev1.Node](i, kindThisNode, i.client.Nodes, &corev1.Node{}, i.selectNode),
		i.setNode, i.deleteNode)
	if err != nil {
		return nil, err
	}
	return []feed{services, endpointSlices, node}, nil
}

// selectServices asks for the Services that may have node ports and are not another proxy's. Translate decides; this
// only spares the node what it would throw away. Types are selected by exclusion, so that a new one is not lost.
func (i *Informers) selectServices(o *metav1.ListOptions) {
	if !i.selectAll.Load() {
		o.FieldSelector = "spec.clusterIP!=None,spec.type!=ClusterIP,spec.type!=ExternalName"
	}
	o.LabelSelector = "!" + labelServiceProxyName
	if name := i.options.ServiceProxyName; name != "" {
		o.LabelSelector = labelServiceProxyName + "=" + name
	}
}

func selectSlices(o *metav1.ListOptions) {
	o.LabelSelector = discoveryv1.LabelServiceName + ",!" + corev1.IsHeadlessService
}

func (i *Informers) selectNode(o *metav1.ListOptions) {
	o.FieldSelector = "metadata.name=" + i.options.NodeName
}

// waitForLists waits until State has everything that was listed first; false if ctx ends before.
func (i *Informers) waitForLists(ctx context.Context, feeds []feed) bool {
	say := time.NewTicker(sayWaiting)
	defer say.Stop()
	for _, f := range feeds {
		for !cache.IsDone(f.listed) {
			select {
			case <-f.listed.Done():
			case <-ctx.Done():
				return false
			case <-say.C:
				i.log.Info("Nothing is programmed before the API server has listed everything once", "waitingFor", f.kind)
			}
		}
	}
	return true
}
