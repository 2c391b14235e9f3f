package kube

import (
	"context"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// labelPatience is how long the start waits for the labels of nodes. They only weigh: an API server that refuses to list
// nodes must not keep a node from serving because of one Service's annotation.
const labelPatience = 10 * time.Second

// nodeLabels are the labels of all nodes. They are asked for once a Service weighs its endpoints by them, and not
// before: every node of the cluster would be watched by every other.
type nodeLabels struct {
	byNode map[string]map[string]string
	// wanted is closed when a Service needs them.
	wanted chan struct{}
}

// weighsByLabels reports whether the weights of a Service look at labels of nodes.
func weighsByLabels(svc *corev1.Service) bool {
	return strings.Contains(svc.Annotations[annotationWeights], labelMark)
}

// setNodeLabels takes the labels of any node. It concerns the Services that look at them.
func (s *State) setNodeLabels(node string, labels map[string]string) {
	if maps.Equal(s.labels.byNode[node], labels) {
		return
	}
	s.labels.byNode[node] = labels
	s.markWeighed()
}

func (s *State) deleteNodeLabels(node string) {
	if _, known := s.labels.byNode[node]; known {
		delete(s.labels.byNode, node)
		s.markWeighed()
	}
}

// wantLabels asks for them, once.
func (s *State) wantLabels() {
	select {
	case <-s.labels.wanted:
	default:
		close(s.labels.wanted)
	}
}

func (s *State) markWeighed() {
	for id, svc := range s.services {
		if weighsByLabels(svc) {
			s.mark(id)
		}
	}
}

// followLabels watches the labels of all nodes from when they are wanted until ctx ends.
func (i *Informers) followLabels(ctx context.Context, listed chan<- struct{}) error {
	select {
	case <-i.labels.wanted:
	case <-ctx.Done():
		return nil
	}
	informer := newInformer[*metav1.PartialObjectMetadata](i, kindNodeLabels, i.client.NodeLabels, &metav1.PartialObjectMetadata{}, func(*metav1.ListOptions) {})
	f, err := newFeed(kindNodeLabels, i, informer,
		func(m *metav1.PartialObjectMetadata) { i.setNodeLabels(m.Name, m.Labels) },
		func(name types.NamespacedName) { i.deleteNodeLabels(name.Name) })
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-f.listed.Done():
			close(listed)
		case <-ctx.Done():
		}
	}()
	f.informer.RunWithContext(ctx)
	return nil
}

// awaitLabels waits for the labels of nodes if a Service that is known by now looks at them.
func (i *Informers) awaitLabels(ctx context.Context, listed <-chan struct{}) {
	select {
	case <-i.labels.wanted:
	default:
		return
	}
	patience := time.NewTimer(labelPatience)
	defer patience.Stop()
	select {
	case <-listed:
	case <-ctx.Done():
	case <-patience.C:
		i.log.Info("The labels of nodes are not known yet: weights by label count once they are", "waited", labelPatience)
	}
}
