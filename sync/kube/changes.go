package kube

import (
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// changeLog counts what came into a State.
type changeLog struct {
	sync.Changes
	// started: what changed before was not ours to program. triggers has what changed since then and was not handed over.
	started  time.Time
	triggers sync.Triggers
}

// Changes is that of sync.Source.
func (s *State) Changes() sync.Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Changes
}

// trigger takes down when the endpoints changed of which a slice tells. The endpoint slice controller writes that of the
// first change that it had not written before (kubernetes/community, sig-scalability/slos/network_programming_latency.md).
func (l *changeLog) trigger(id sync.ServiceID, slice *discoveryv1.EndpointSlice) {
	if t := triggerTime(slice); t.After(l.started) {
		l.triggers.Add(id, t)
	}
}

// triggerTime is zero, which is long ago, for a time that nobody can read: it is not measured, that is all.
func triggerTime(slice *discoveryv1.EndpointSlice) time.Time {
	text, written := slice.Annotations[corev1.EndpointsLastChangeTriggerTime]
	if !written {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// take hands over the triggers of the changed Services. What came of no change for nodes took no time to program.
func (l *changeLog) take(changed []sync.Service) sync.Triggers {
	l.Services.Pending, l.EndpointSlices.Pending = 0, 0
	var taken sync.Triggers
	for _, svc := range changed {
		if times := l.triggers[svc.ID]; len(times) > 0 {
			if taken == nil {
				taken = sync.Triggers{}
			}
			taken[svc.ID] = times
		}
	}
	clear(l.triggers)
	return taken
}

// sameService reports whether two versions of a Service differ in nothing that the agent reads: most updates are of its
// status.
func sameService(a, b *corev1.Service) bool {
	x, y := *a, *b
	x.ResourceVersion, y.ResourceVersion = "", ""
	return reflect.DeepEqual(x, y)
}

// sameSlice is sameService for an EndpointSlice. It is written out, since reflect.DeepEqual would take longer than Translate:
// all that strip keeps, but for the annotations, which tell about changes and are none.
func sameSlice(a, b *discoveryv1.EndpointSlice) bool {
	return a.AddressType == b.AddressType && maps.Equal(a.Labels, b.Labels) && slices.EqualFunc(a.Ports, b.Ports, samePort) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint)
}

func samePort(a, b discoveryv1.EndpointPort) bool {
	return sameValue(a.Name, b.Name) && sameValue(a.Protocol, b.Protocol) && sameValue(a.Port, b.Port) && sameValue(a.AppProtocol, b.AppProtocol)
}

func sameEndpoint(a, b discoveryv1.Endpoint) bool {
	c, d := a.Conditions, b.Conditions
	return slices.Equal(a.Addresses, b.Addresses) &&
		sameValue(c.Ready, d.Ready) && sameValue(c.Serving, d.Serving) && sameValue(c.Terminating, d.Terminating) &&
		sameValue(a.NodeName, b.NodeName) && sameValue(a.Zone, b.Zone) && sameValue(a.TargetRef, b.TargetRef) && sameHints(a.Hints, b.Hints)
}

func sameHints(a, b *discoveryv1.EndpointHints) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.ForNodes, b.ForNodes) && slices.Equal(a.ForZones, b.ForZones)
}

func sameValue[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
