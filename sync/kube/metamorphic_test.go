package kube

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// manyObjects is one cluster's Services, and their EndpointSlices however they are cut.
type manyObjects struct {
	services []*corev1.Service
	slices   []*discoveryv1.EndpointSlice
}

// What is served depends on the endpoints alone: not on how they are divided among slices, nor on the order of anything,
// nor on slices that are not for proxies.
func TestRegroupedSlicesGiveTheSameTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawObjects(t)
		after := manyObjects{before.services, regrouped(t, before.slices)}
		if diff := cmp.Diff(served(before), served(after)); diff != "" {
			t.Fatalf("regrouped (-before +after):\n%s", diff)
		}
	})
}

// Nor on what was there before: endpoints move from slice to slice, slices come and go, the agent looks in between.
func TestAnyHistoryOfSlicesGivesTheTableOfTheLastOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		objects := drawObjects(t)
		f := newNodeView(objects.services)
		var written []*discoveryv1.EndpointSlice
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			f.replace(t, written, drawObjects(t).slices)
			written = f.slices
		}
		f.replace(t, written, regrouped(t, objects.slices))
		f.look()
		if diff := cmp.Diff(served(objects), renderPorts(f.served)); diff != "" {
			t.Fatalf("(-fresh +after the history):\n%s", diff)
		}
	})
}

// served is what a node serves that sees the objects for the first time, all at once.
func served(o manyObjects) string {
	f := newNodeView(o.services)
	f.source.change(func() {
		for _, s := range o.slices {
			f.source.setSlice(s)
		}
	})
	f.look()
	return renderPorts(f.served)
}

// nodeView is a source and the state of the node that follows it.
type nodeView struct {
	source *State
	served *sync.State
	slices []*discoveryv1.EndpointSlice
}

func newNodeView(services []*corev1.Service) *nodeView {
	f := &nodeView{source: newState(testOptions(), ""), served: serve([]netip.Addr{
		netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("fd01::10"),
	}, sync.Update{})}
	this := node("node-a", "10.1.0.10")
	this.Labels = map[string]string{corev1.LabelTopologyZone: "east"}
	f.source.change(func() {
		f.source.setNode(this)
		for _, svc := range services {
			f.source.setService(svc)
		}
		f.source.setSynced()
	})
	return f
}

// look lets the node take in what the source has.
func (f *nodeView) look() {
	update, _ := f.source.Next()
	f.served.Update(update)
	f.served.Resolve()
}

// replace writes the slices one by one, and removes those of before that are none of them, in any order.
func (f *nodeView) replace(t *rapid.T, before, after []*discoveryv1.EndpointSlice) {
	type step struct {
		name types.NamespacedName
		set  *discoveryv1.EndpointSlice // nil: remove
	}
	var steps []step
	stays := map[types.NamespacedName]bool{}
	for _, s := range after {
		name := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
		stays[name] = true
		steps = append(steps, step{name, s})
	}
	for _, s := range before {
		if name := (types.NamespacedName{Namespace: s.Namespace, Name: s.Name}); !stays[name] {
			steps = append(steps, step{name, nil})
		}
	}
	for _, s := range shuffled(t, steps) {
		f.source.change(func() {
			if s.set == nil {
				f.source.deleteSlice(s.name)
				return
			}
			f.source.setSlice(s.set)
		})
		if rapid.Bool().Draw(t, "look") {
			f.look()
		}
	}
	f.slices = after
}

// drawObjects makes two Services of random policy, one with named ports of two protocols and one with a port without
// a name, and slices of both families for them.
func drawObjects(t *rapid.T) manyObjects {
	policy := rapid.SampledFrom([]corev1.ServiceExternalTrafficPolicy{"Cluster", "Local"})
	web := nodePortService("web",
		corev1.ServicePort{Name: "http", Port: 80, NodePort: 30080},
		corev1.ServicePort{Name: "dns", Port: 53, NodePort: 30080, Protocol: corev1.ProtocolUDP})
	api := nodePortService("api", corev1.ServicePort{Port: 80, NodePort: 30081})
	for _, svc := range []*corev1.Service{web, api} {
		svc.Spec.ExternalTrafficPolicy = policy.Draw(t, "policy")
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	o := manyObjects{services: []*corev1.Service{web, api}}
	for i := range rapid.IntRange(0, 6).Draw(t, "slices") {
		o.slices = append(o.slices, drawSlice(t, fmt.Sprintf("s%d", i)))
	}
	return o
}

func drawSlice(t *rapid.T, name string) *discoveryv1.EndpointSlice {
	service := rapid.SampledFrom([]string{"web", "web", "api"}).Draw(t, "service")
	s := ipv4Slice(service, name, 8080)
	addresses := []string{"10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.4"}
	if rapid.Bool().Draw(t, "is IPv6") {
		s.AddressType, addresses = discoveryv1.AddressTypeIPv6, []string{"fd44::1", "fd44::2", "fd44::3"}
	}
	if service == "web" {
		s.Ports = rapid.Permutation([]discoveryv1.EndpointPort{
			{Name: ptr("http"), Port: ptr(rapid.SampledFrom([]int32{8080, 8081}).Draw(t, "http"))},
			{Name: ptr("dns"), Port: ptr(int32(5353)), Protocol: ptr(corev1.ProtocolUDP)},
			{Name: ptr("inside"), Port: ptr(int32(9090))},
		}).Draw(t, "ports")[:rapid.IntRange(1, 3).Draw(t, "number of ports")]
	}
	for range rapid.IntRange(0, 5).Draw(t, "endpoints") {
		s.Endpoints = append(s.Endpoints, drawUsable(t, addresses))
	}
	return s
}

// drawUsable is an endpoint of so few kinds that there often are several with one address, which differ in one thing.
func drawUsable(t *rapid.T, addresses []string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{rapid.SampledFrom(addresses).Draw(t, "address")},
		Conditions: rapid.SampledFrom([]discoveryv1.EndpointConditions{
			{},
			{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)},
			{Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)},
			{Ready: ptr(false), Serving: ptr(false)},
		}).Draw(t, "conditions"),
		NodeName: rapid.SampledFrom([]*string{ptr("node-a"), ptr("node-b")}).Draw(t, "node"),
	}
	if rapid.IntRange(0, 4).Draw(t, "has hints") > 0 {
		e.Hints = drawHints(t)
	}
	return e
}

// regrouped are slices with the same endpoints: some cut in two, some that belong together joined, some with one endpoint
// told twice, a few that are not for proxies, and all in another order.
func regrouped(t *rapid.T, before []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	var after []*discoveryv1.EndpointSlice
	for _, s := range before {
		cut := rapid.IntRange(0, len(s.Endpoints)).Draw(t, "cut")
		left, right := s.DeepCopy(), s.DeepCopy()
		right.Name += "-rest"
		left.Endpoints, right.Endpoints = left.Endpoints[:cut:cut], right.Endpoints[cut:]
		if cut > 0 && rapid.Bool().Draw(t, "twice") {
			right.Endpoints = append(right.Endpoints, left.Endpoints[rapid.IntRange(0, cut-1).Draw(t, "which")])
		}
		for _, part := range []*discoveryv1.EndpointSlice{left, right} {
			fits := func(s *discoveryv1.EndpointSlice) bool { return belongTogether(s, part) }
			if i := slices.IndexFunc(after, fits); i >= 0 && rapid.Bool().Draw(t, "join") {
				after[i].Endpoints = append(after[i].Endpoints, part.Endpoints...)
				continue
			}
			after = append(after, part)
		}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "not for proxies") {
		after = append(after, drawUnused(t, fmt.Sprintf("unused%d", i)))
	}
	for _, s := range after {
		s.Endpoints, s.Ports = shuffled(t, s.Endpoints), shuffled(t, s.Ports)
	}
	return shuffled(t, after)
}

func belongTogether(a, b *discoveryv1.EndpointSlice) bool {
	return a.AddressType == b.AddressType && reflect.DeepEqual(a.Labels, b.Labels) && reflect.DeepEqual(a.Ports, b.Ports)
}

// drawUnused is a slice that changes nothing.
func drawUnused(t *rapid.T, name string) *discoveryv1.EndpointSlice {
	s := drawSlice(t, name)
	switch rapid.IntRange(0, 3).Draw(t, "unused because") {
	case 0:
		s.AddressType = discoveryv1.AddressTypeFQDN
	case 1:
		s.Labels[corev1.IsHeadlessService] = ""
	case 2:
		s.Labels = nil
	default:
		s.Ports = []discoveryv1.EndpointPort{{Name: ptr("nobody-asks"), Port: ptr(int32(8080))}, {Name: ptr("http")}}
	}
	return s
}

// Of two endpoints with one address, which differ in anything, the same one counts in either order.
func TestTheOrderOfDuplicatesDoesNotMatter(t *testing.T) {
	variants := map[string]func(*discoveryv1.Endpoint){
		"plain":       func(*discoveryv1.Endpoint) {},
		"local":       func(e *discoveryv1.Endpoint) { e.NodeName = ptr("node-a") },
		"elsewhere":   func(e *discoveryv1.Endpoint) { e.NodeName = ptr("node-b") },
		"not ready":   func(e *discoveryv1.Endpoint) { e.Conditions.Ready = ptr(false) },
		"failing":     func(e *discoveryv1.Endpoint) { e.Conditions.Serving = ptr(false) },
		"terminating": func(e *discoveryv1.Endpoint) { e.Conditions.Terminating = ptr(true) },
		"for node":    func(e *discoveryv1.Endpoint) { e.Hints = nodeHint("node-b") },
		"for us":      func(e *discoveryv1.Endpoint) { e.Hints = nodeHint("node-a") },
		"for zone": func(e *discoveryv1.Endpoint) {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "west"}}}
		},
		"pod": func(e *discoveryv1.Endpoint) { e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "web-1"} },
	}
	translate := func(names ...string) sync.Service {
		slice := ipv4Slice("web", "s", 8080)
		for _, name := range names {
			e := endpointAt("10.244.1.1")
			variants[name](&e)
			slice.Endpoints = append(slice.Endpoints, e)
		}
		return Translate(webService("web", 30080), []*discoveryv1.EndpointSlice{slice}, testOptions())
	}
	for one := range variants {
		for other := range variants {
			if diff := cmp.Diff(translate(one, other), translate(other, one), compareValues()...); diff != "" {
				t.Errorf("%s before and after %s (-before +after):\n%s", one, other, diff)
			}
		}
	}
}

func nodeHint(name string) *discoveryv1.EndpointHints {
	return &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: name}}}
}
