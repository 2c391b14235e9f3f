package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// counted is a State that lists the Services it translates.
func counted(o Options) (*State, *[]string) {
	s := newState(o, "it is not there")
	var names []string
	s.translate = func(svc *corev1.Service, slices []*discoveryv1.EndpointSlice, o Options) sync.Service {
		names = append(names, svc.Name)
		return Translate(svc, slices, o)
	}
	return s, &names
}

func webService(name string, nodePort int32) *corev1.Service {
	return nodePortService(name, corev1.ServicePort{Port: 80, NodePort: nodePort})
}

func node(name string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

func expectUpdate(t *testing.T, s *State, want string) {
	t.Helper()
	update, ok := s.Next()
	if !ok {
		t.Fatal("not synced")
	}
	if diff := cmp.Diff(want, render(update)); diff != "" {
		t.Errorf("update (-want +got):\n%s", diff)
	}
}

func expectTranslated(t *testing.T, names *[]string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, *names); diff != "" {
		t.Errorf("translated Services (-want +got):\n%s", diff)
	}
	*names = nil
}

func changed(s *State) bool {
	select {
	case <-s.Changed():
		return true
	default:
		return false
	}
}

func endpointAt(address string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}}
}

func TestNothingIsSaidBeforeEverythingWasRead(t *testing.T) {
	s, names := counted(testOptions())
	s.setService(webService("web", 30080))
	s.setNode(node("node-a", "10.1.0.10"))
	if _, ok := s.Next(); ok || changed(s) {
		t.Fatal("an update before everything was read")
	}
	expectTranslated(t, names)
	s.setSynced()
	if !changed(s) {
		t.Error("nothing tells that everything was read")
	}
	expectUpdate(t, s, "node node-a internal=[10.1.0.10] external=[]\nservice default/web\n  30080/tcp port=80 name=\"\" Cluster\n")
}

func TestOnlyChangedServicesAreTranslated(t *testing.T) {
	s, names := counted(testOptions())
	s.setNode(node("node-a"))
	s.setService(webService("a", 30001))
	s.setService(webService("b", 30002))
	s.setSynced()
	s.Next()
	expectTranslated(t, names, "a", "b")

	s.setSlice(ipv4Slice("b", "b-1", 8080, endpointAt("10.0.0.1")))
	expectUpdate(t, s, "service default/b\n  30002/tcp port=80 name=\"\" Cluster\n    10.0.0.1:8080 ready serving\n")
	expectTranslated(t, names, "b")

	changed(s)
	s.setNode(node("node-a"))
	if changed(s) {
		t.Error("a heartbeat of the Node counts as a change")
	}
	expectUpdate(t, s, "")
	expectTranslated(t, names)
}

func TestSlicesMayComeBeforeTheirService(t *testing.T) {
	s, _ := counted(Options{})
	s.setSlice(ipv4Slice("web", "web-1", 8080, endpointAt("10.0.0.1")))
	s.setSynced()
	expectUpdate(t, s, "")
	s.setService(webService("web", 30080))
	expectUpdate(t, s, "service default/web\n  30080/tcp port=80 name=\"\" Cluster\n    10.0.0.1:8080 ready serving\n")
}

func TestASliceThatMovesConcernsBothServices(t *testing.T) {
	s, names := counted(Options{})
	s.setService(webService("a", 30001))
	s.setService(webService("b", 30002))
	s.setSlice(ipv4Slice("a", "x", 8080, endpointAt("10.0.0.1")))
	s.setSynced()
	s.Next()
	*names = nil

	s.setSlice(ipv4Slice("b", "x", 8080, endpointAt("10.0.0.1")))
	expectUpdate(t, s, "service default/a\n  30001/tcp port=80 name=\"\" Cluster\n"+
		"service default/b\n  30002/tcp port=80 name=\"\" Cluster\n    10.0.0.1:8080 ready serving\n")
	expectTranslated(t, names, "a", "b")

	unlabelled := ipv4Slice("b", "x", 8080, endpointAt("10.0.0.1"))
	unlabelled.Labels = nil
	s.setSlice(unlabelled)
	expectUpdate(t, s, "service default/b\n  30002/tcp port=80 name=\"\" Cluster\n")
	if len(s.slices) != 0 || len(s.sliceOwner) != 0 {
		t.Errorf("slices of nobody are kept: %v %v", s.slices, s.sliceOwner)
	}
}

func TestAServiceThatGoesHasNoPorts(t *testing.T) {
	s, _ := counted(Options{})
	s.setService(webService("a", 30001))
	s.setService(webService("b", 30002))
	s.setSlice(ipv4Slice("a", "a-1", 8080))
	s.setSynced()
	s.Next()

	s.deleteService(types.NamespacedName{Namespace: "default", Name: "a"})
	s.deleteSlice(types.NamespacedName{Namespace: "default", Name: "a-1"})
	inside := webService("b", 0)
	inside.Spec.Type = corev1.ServiceTypeClusterIP
	s.setService(inside)
	expectUpdate(t, s, "service default/a\nservice default/b\n")
	if len(s.delivered) != 0 {
		t.Errorf("what is gone is remembered: %v", s.delivered)
	}
	s.setService(inside)
	expectUpdate(t, s, "")
}

func TestEqualServicesAreNotDeliveredAgain(t *testing.T) {
	s, _ := counted(Options{})
	s.setService(webService("a", 30001))
	s.setSlice(ipv4Slice("a", "a-1", 8080, endpointAt("10.0.0.1"), endpointAt("10.0.0.2")))
	s.setSynced()
	s.Next()
	s.setSlice(ipv4Slice("a", "a-1", 8080, endpointAt("10.0.0.2"), endpointAt("10.0.0.1")))
	expectUpdate(t, s, "")
	s.setSlice(ipv4Slice("a", "a-1", 8081, endpointAt("10.0.0.2")))
	expectUpdate(t, s, "service default/a\n  30001/tcp port=80 name=\"\" Cluster\n    10.0.0.2:8081 ready serving\n")
}

func TestTheNodeKeepsItsLastValue(t *testing.T) {
	s, _ := counted(testOptions())
	s.setSynced()
	expectUpdate(t, s, "problem [invalid, skipped] Node node-a: it is not there\n")
	s.setNode(node("node-b", "10.1.0.11"))
	expectUpdate(t, s, "problem [invalid, skipped] Node node-a: it is not there\n")
	s.setNode(node("node-a", "10.1.0.10", "x"))
	expectUpdate(t, s, "node node-a internal=[10.1.0.10] external=[]\n"+
		"problem [invalid] Node node-a: InternalIP \"x\" is not an IPv4 or IPv6 address; it is not used\n")
	changed(s)
	s.deleteNode(types.NamespacedName{Name: "node-a"})
	if !changed(s) {
		t.Error("nothing tells that the Node is gone")
	}
	expectUpdate(t, s, "problem [invalid] Node node-a: it is gone; the addresses that it had are used\n")
	s.setNode(node("node-a", "10.1.0.10"))
	expectUpdate(t, s, "")
	s.setNode(node("node-a", "10.1.0.99"))
	expectUpdate(t, s, "node node-a internal=[10.1.0.99] external=[]\n")
}

func TestHintsFollowTheZoneLabelOfTheNode(t *testing.T) {
	s, _ := counted(testOptions())
	in := func(zone string) *corev1.Node {
		n := node("node-a", "10.1.0.10")
		n.Labels = map[string]string{corev1.LabelTopologyZone: zone}
		return n
	}
	hinted := endpointAt("10.244.1.2")
	hinted.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "east"}}}
	svc := webService("web", 30080)
	s.change(func() {
		s.setNode(in("east"))
		s.setService(svc)
		s.setSlice(hintedSlice(hinted))
		s.setSynced()
	})
	s.Next()
	s.change(func() { s.setNode(in("west")) })
	expectUpdate(t, s, `service default/web
  30080/tcp port=80 name="" Cluster
    10.244.1.2:8080 ready serving zone=elsewhere
`)
	s.change(func() { s.setNode(in("east")) })
	expectUpdate(t, s, `service default/web
  30080/tcp port=80 name="" Cluster
    10.244.1.2:8080 ready serving zone=here
`)
}

func hintedSlice(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	port := int32(8080)
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &port}},
		Endpoints:   endpoints,
	}
}
