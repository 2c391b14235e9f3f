package kube

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

func TestServiceWithAHealthCheckAloneIsDelivered(t *testing.T) {
	s, _ := counted(Options{})
	port := uint16(32000)
	s.translate = func(svc *corev1.Service, _ []*discoveryv1.EndpointSlice, _ Options) sync.Service {
		return sync.Service{ID: serviceID(svc), HealthCheckNodePort: port}
	}
	s.setService(webService("web", 0))
	s.setSynced()
	expectUpdate(t, s, "service default/web\n  health check 32000 ready here=[]\n")
	port = 0
	s.setService(webService("web", 1)) // another one
	expectUpdate(t, s, "service default/web\n")
}

// How often an endpoint stands in the slices, in which order and in which of them, has no influence on what counts. What
// counts is what is sent to.
func TestWhatCountsIsFreeOfOrderAndSplitting(t *testing.T) {
	svc := nodePortService("web", corev1.ServicePort{Port: 80, NodePort: 30080})
	svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	svc.Spec.HealthCheckNodePort = 32000
	rapid.Check(t, func(t *rapid.T) {
		before := drawSlices(t)
		var after []*discoveryv1.EndpointSlice
		for _, s := range shuffled(t, before) {
			cut := rapid.IntRange(0, len(s.Endpoints)).Draw(t, "cut")
			left, right := s.DeepCopy(), s.DeepCopy()
			left.Endpoints, right.Endpoints = shuffled(t, left.Endpoints[:cut]), right.Endpoints[max(0, cut-1):] // one stands twice
			right.Name += "-rest"
			after = append(after, right, left)
		}
		want, got := Translate(svc, before, testOptions()), Translate(svc, after, testOptions())
		if !slices.Equal(want.LocalReady, got.LocalReady) {
			t.Fatalf("%v, then %v", want.LocalReady, got.LocalReady)
		}
		var used []netip.Addr
		for _, e := range want.Ports[0].Endpoints { // there is one port
			if e.Local && e.Ready {
				used = append(used, e.Addr.Addr())
			}
		}
		slices.SortFunc(used, netip.Addr.Compare)
		if used = slices.Compact(used); !slices.Equal(used, want.LocalReady) {
			t.Fatalf("%v count, of the endpoints %v", want.LocalReady, want.Ports[0].Endpoints)
		}
	})
}
