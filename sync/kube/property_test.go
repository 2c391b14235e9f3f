package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

func ptr[T any](v T) *T { return &v }

func nodePortService(name string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: ports},
	}
}

func ipv4Slice(service, name string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr(port)}},
		Endpoints:   endpoints,
	}
}

func drawEndpoint(t *rapid.T) discoveryv1.Endpoint {
	condition := rapid.SampledFrom([]*bool{nil, ptr(true), ptr(false)})
	address := rapid.SampledFrom([]string{
		"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "127.0.0.1", "fd00::1", "::ffff:10.0.0.1", "x", "",
	})
	e := discoveryv1.Endpoint{
		Addresses: []string{address.Draw(t, "address")},
		Conditions: discoveryv1.EndpointConditions{
			Ready: condition.Draw(t, "ready"), Serving: condition.Draw(t, "serving"), Terminating: condition.Draw(t, "terminating"),
		},
		NodeName: rapid.SampledFrom([]*string{nil, ptr("node-a"), ptr("node-b")}).Draw(t, "node"),
	}
	if rapid.Bool().Draw(t, "has target") {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "pod")}
	}
	if rapid.Bool().Draw(t, "has hints") {
		e.Hints = drawHints(t)
	}
	return e
}

func drawHints(t *rapid.T) *discoveryv1.EndpointHints {
	h := &discoveryv1.EndpointHints{}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"node-a", "node-b"}), 0, 2).Draw(t, "for nodes") {
		h.ForNodes = append(h.ForNodes, discoveryv1.ForNode{Name: name})
	}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"east", "west"}), 0, 2).Draw(t, "for zones") {
		h.ForZones = append(h.ForZones, discoveryv1.ForZone{Name: name})
	}
	return h
}

func drawSlices(t *rapid.T) []*discoveryv1.EndpointSlice {
	var result []*discoveryv1.EndpointSlice
	for i := range rapid.IntRange(0, 4).Draw(t, "slices") {
		s := ipv4Slice("web", fmt.Sprintf("s%d", i), rapid.SampledFrom([]int32{0, 80, 81}).Draw(t, "port"))
		s.Endpoints = rapid.SliceOfN(rapid.Custom(drawEndpoint), 0, 6).Draw(t, "endpoints")
		result = append(result, s)
	}
	return result
}

func shuffled[T any](t *rapid.T, in []T) []T {
	return rapid.Permutation(in).Draw(t, "order")
}

// The result depends neither on the order of the slices and their endpoints, nor on how often an endpoint stands there.
func TestTranslateIsFreeOfOrder(t *testing.T) {
	svc := nodePortService("web", corev1.ServicePort{Port: 80, NodePort: 30080})
	rapid.Check(t, func(t *rapid.T) {
		before := drawSlices(t)
		want := Translate(svc, before, testOptions())
		var after []*discoveryv1.EndpointSlice
		for _, s := range shuffled(t, before) {
			s = s.DeepCopy()
			s.Endpoints = shuffled(t, s.Endpoints)
			after = append(after, s)
		}
		if diff := cmp.Diff(want, Translate(svc, after, testOptions()), compareValues()...); diff != "" {
			t.Fatalf("shuffled (-before +after):\n%s", diff)
		}
		for _, s := range after {
			if n := len(s.Endpoints); n > 0 {
				s.Endpoints = append(s.Endpoints, s.Endpoints[rapid.IntRange(0, n-1).Draw(t, "twice")])
			}
		}
		if diff := cmp.Diff(want.Ports, Translate(svc, after, testOptions()).Ports, compareValues()...); diff != "" {
			t.Fatalf("with duplicates (-before +after):\n%s", diff)
		}
	})
}

// How endpoints are divided among slices has no influence on what is served.
func TestTranslateIsFreeOfSplitting(t *testing.T) {
	svc := nodePortService("web", corev1.ServicePort{Port: 80, NodePort: 30080})
	rapid.Check(t, func(t *rapid.T) {
		before := drawSlices(t)
		var after []*discoveryv1.EndpointSlice
		for _, s := range before {
			cut := rapid.IntRange(0, len(s.Endpoints)).Draw(t, "cut")
			left, right := s.DeepCopy(), s.DeepCopy()
			left.Endpoints, right.Endpoints = left.Endpoints[:cut], right.Endpoints[cut:]
			right.Name += "-rest"
			after = append(after, right, left)
		}
		want, got := Translate(svc, before, testOptions()), Translate(svc, after, testOptions())
		if diff := cmp.Diff(want.Ports, got.Ports, compareValues()...); diff != "" {
			t.Fatalf("split (-before +after):\n%s", diff)
		}
	})
}

// Endpoints are valid, sorted, without duplicates, and never more than one problem tells of one kind of fault in one slice.
func TestTranslateKeepsItsPromises(t *testing.T) {
	svc := nodePortService("web", corev1.ServicePort{Port: 80, NodePort: 30080})
	rapid.Check(t, func(t *rapid.T) {
		got := Translate(svc, drawSlices(t), testOptions())
		endpoints := got.Ports[0].Endpoints
		for i, e := range endpoints {
			if !e.Addr.IsValid() || e.Addr.Port() == 0 || !e.Addr.Addr().Is4() || e.Addr.Addr().IsLoopback() {
				t.Fatalf("unusable endpoint %v", e)
			}
			if i > 0 && endpoints[i-1].Addr.Compare(e.Addr) >= 0 {
				t.Fatalf("%v before %v", endpoints[i-1].Addr, e.Addr)
			}
			if e.Local != (e.Node == "node-a") {
				t.Fatalf("locality of %v", e)
			}
		}
		if unique := slices.Compact(slices.Clone(got.Problems)); len(unique) != len(got.Problems) {
			t.Fatalf("problem told twice: %v", got.Problems)
		}
		for _, p := range got.Problems {
			if p.Skipped {
				t.Fatalf("the node port is served, so nothing is skipped: %v", p)
			}
		}
	})
}

func compareValues() cmp.Options {
	return cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()}
}

// One fault in ten thousand endpoints of a slice is one problem, and the rest of them is served.
func TestTenThousandEndpoints(t *testing.T) {
	svc, slices := largeService(10_000)
	slices[3].Endpoints = append(slices[3].Endpoints, slices[3].Endpoints...)
	for i := range 50 {
		slices[7].Endpoints[i].Addresses[0] = fmt.Sprintf("10.0.0.%d.1", i)
	}
	got := Translate(svc, slices, testOptions())
	if n := len(got.Ports[0].Endpoints); n != 10_000-50 {
		t.Errorf("%d endpoints, want %d", n, 10_000-50)
	}
	want := []sync.Problem{{
		Object:  "EndpointSlice default/large-7",
		Reason:  sync.Invalid,
		Message: `50 endpoint addresses are not used, "10.0.0.0.1" among them: each is not an IP address`,
	}}
	if diff := cmp.Diff(want, got.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// largeService has its endpoints in slices of 100, as the EndpointSlice controller divides them.
func largeService(endpoints int) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	var result []*discoveryv1.EndpointSlice
	for i := range endpoints {
		if i%100 == 0 {
			result = append(result, ipv4Slice("large", fmt.Sprintf("large-%d", i/100), 8080))
		}
		slice := result[len(result)-1]
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 1+i/65536, i/256%256, i%256)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)},
			NodeName:   ptr(fmt.Sprintf("node-%d", i%50)),
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("large-%d", i)},
		})
	}
	return nodePortService("large", corev1.ServicePort{Port: 80, NodePort: 30080}), result
}
