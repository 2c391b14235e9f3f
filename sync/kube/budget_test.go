package kube

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// From an EndpointSlice that comes in to the Update that has its Service: what that costs is bounded, and does not depend on
// what else there is. The budget is a fifth above what was measured.
func TestOneChangedSliceCostsFewAllocationsWhateverElseThereIs(t *testing.T) {
	const budget = 37 // 30 measured, for ten endpoints
	few, many := allocationsOfOneSlice(t, 10), allocationsOfOneSlice(t, 1000)
	if few > budget || many > budget {
		t.Errorf("a change makes %.0f allocations beside 10 Services and %.0f beside 1,000, the budget is %d", few, many, budget)
	}
	if many > few+5 {
		t.Errorf("a change makes %.0f allocations beside 10 Services and %.0f beside 1,000", few, many)
	}
}

func allocationsOfOneSlice(t *testing.T, services int) float64 {
	t.Helper()
	s, small := newState(testOptions(), ""), newStripper(time.Now())
	for i := range services {
		s.setService(nodePortService(fmt.Sprintf("svc-%d", i), corev1.ServicePort{Port: 80, NodePort: int32(30000 + i)}))
		s.setSlice(small.stripSlice(tenEndpoints(i, 0)))
	}
	s.setSynced()
	s.Next()
	versions := []*discoveryv1.EndpointSlice{tenEndpoints(7, 0), tenEndpoints(7, 1)}
	n := 0
	return testing.AllocsPerRun(200, func() {
		n++
		s.setSlice(small.stripSlice(versions[n%2]))
		if u, _ := s.Next(); len(u.Services) != 1 {
			t.Fatalf("%d Services in the update", len(u.Services))
		}
	})
}

func tenEndpoints(service, version int) *discoveryv1.EndpointSlice {
	name := fmt.Sprintf("svc-%d", service)
	es := ipv4Slice(name, name+"-1", 8080)
	for i := range 10 {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.1.%d.%d", version, i)}, NodeName: new(fmt.Sprintf("node-%d", i)),
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("%s-%d", name, i)},
		})
	}
	return es
}

// Endpoints are what a node remembers most of, so what many have is there once.
func TestStrippedEndpointsShareWhatManyHave(t *testing.T) {
	small := newStripper(time.Now())
	a, b := small.stripSlice(tenEndpoints(1, 0)), small.stripSlice(tenEndpoints(2, 0))
	for i := range a.Endpoints {
		x, y := a.Endpoints[i], b.Endpoints[i]
		if x.NodeName != y.NodeName || x.Conditions.Ready != y.Conditions.Serving || x.Conditions.Terminating != y.Conditions.Terminating {
			t.Errorf("endpoint %d has a name of its node, or conditions, of its own", i)
		}
	}
	if node := *a.Endpoints[3].NodeName; node != "node-3" || !*a.Endpoints[3].Conditions.Ready || *a.Endpoints[3].Conditions.Terminating {
		t.Errorf("endpoint 3 is on %s, conditions %v", node, a.Endpoints[3].Conditions)
	}
}

// Nodes come and go for as long as an agent runs.
func TestStripperForgetsNames(t *testing.T) {
	small := newStripper(time.Now())
	for i := range 3 * maxTexts {
		if name := fmt.Sprint(i); *small.text(name) != name {
			t.Fatalf("%s became %s", name, *small.text(name))
		}
	}
	if len(small.texts) > maxTexts {
		t.Errorf("%d names are remembered", len(small.texts))
	}
}

// What came before the start is not measured, so its time need not be remembered.
func TestTimesOfOldChangesAreForgotten(t *testing.T) {
	start := time.Now()
	small := newStripper(start)
	for _, c := range []struct {
		at   string
		kept int
	}{
		{start.Add(-time.Second).Format(time.RFC3339Nano), 0},
		{start.Add(time.Second).Format(time.RFC3339Nano), 1},
		{"yesterday", 0},
	} {
		slice := tenEndpoints(1, 0)
		slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: c.at, "example.com/other": "x"}
		if got := small.stripSlice(slice).Annotations; len(got) != c.kept {
			t.Errorf("%s: %v", c.at, got)
		}
	}
}
