package kube

import (
	"context"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

const (
	// eventSource is the component that Events are from; the node is their host.
	eventSource = "kube-ipvs"
	// maxEventMessage is how long a message may be in events.k8s.io, where Events are read too, in bytes.
	maxEventMessage = 1024
)

var _ sync.Events = (*Informers)(nil)

// recordEvents begins to write Events, until ctx ends. The recorder joins what is alike, bounds what one node writes about
// one object (25 at once, then one in five minutes), and drops what it cannot hold, so a problem that comes and goes is no
// storm. Those of core/v1 are used: the ones of events.k8s.io take problems of one Reason for the same, whatever they say.
func (i *Informers) recordEvents(ctx context.Context) {
	broadcaster := record.NewBroadcaster(record.WithContext(logr.NewContext(ctx, i.log)))
	broadcaster.StartRecordingToSink(eventSink{ctx, i.client.Events})
	source := corev1.EventSource{Component: eventSource, Host: i.options.NodeName}
	recorder := broadcaster.NewRecorder(runtime.NewScheme(), source).WithLogger(i.log)
	i.tell.Store(new(func(about *corev1.ObjectReference, reason, message string) {
		if ctx.Err() == nil {
			recorder.Event(about, corev1.EventTypeWarning, reason, message)
		}
	}))
}

// Problem is that of sync.Events. Before Run there is nobody to tell.
func (i *Informers) Problem(id sync.ServiceID, uid string, p sync.Problem) {
	tell := i.tell.Load()
	if tell == nil {
		return
	}
	about := &corev1.ObjectReference{
		APIVersion: "v1", Kind: kindService, Namespace: id.Namespace, Name: id.Name, UID: types.UID(uid),
	}
	(*tell)(about, eventReason(p.Reason), clip(sync.Printable(p.Message), maxEventMessage))
}

// eventReason is the Reason of the Event for a problem.
func eventReason(r sync.Reason) string {
	switch r {
	case sync.Invalid:
		return "InvalidService"
	case sync.Unsupported:
		return "UnsupportedService"
	case sync.Conflict:
		return "NodePortConflict"
	case sync.NoAddress:
		return "NoNodeAddress"
	case sync.NoPodNetwork:
		return "NoPodNetwork"
	case sync.KernelRefused:
		return "SchedulerRefused"
	case sync.ListenFailed:
		return "FailedToStartServiceHealthcheck" // kube-proxy's
	case sync.PortInUse:
		return "NodePortInUse"
	case sync.OutOfRange:
		return "PortOutOfRange" // the API server's repair loop's
	case sync.OverLimit:
		return "NodeLimitReached"
	}
	return "ServiceProblem"
}

// clip cuts a text of more than so many bytes.
func clip(text string, most int) string {
	const dots = "..."
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(dots)], "") + dots
}

// eventSink writes Events until its context ends, requests under way included.
type eventSink struct {
	ctx    context.Context // the interface has none
	client EventWriter
}

func (s eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.client.CreateWithEventNamespaceWithContext(s.ctx, e)
}

func (s eventSink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.client.UpdateWithEventNamespaceWithContext(s.ctx, e)
}

func (s eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.client.PatchWithEventNamespaceWithContext(s.ctx, e, data)
}
