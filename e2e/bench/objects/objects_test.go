package objects_test

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
)

func plan(seed uint64) objects.Plan {
	return objects.Plan{Sizes: []int{100, 1000, 2700}, Endpoints: 10, Seed: seed}
}

func TestASeedMakesTheSameObjectsAgainAndAnotherMakesOthers(t *testing.T) {
	for _, i := range []int{0, 99, 100, 2699} {
		if !reflect.DeepEqual(plan(1).Service(i), plan(1).Service(i)) || !reflect.DeepEqual(plan(1).Slice(i), plan(1).Slice(i)) {
			t.Errorf("Service %d is not the same twice", i)
		}
		if plan(1).Endpoint(i, 3) == plan(2).Endpoint(i, 3) {
			t.Errorf("Service %d has the same endpoints with another seed", i)
		}
	}
	if slices.Equal(plan(1).Order(100), plan(2).Order(100)) {
		t.Error("changes come in the same order with another seed")
	}
	same := 0
	for i := range 2700 {
		if plan(1).NodePort(i) == plan(2).NodePort(i) {
			same++
		}
	}
	if same > 200 {
		t.Errorf("%d of 2700 node ports are the same with another seed", same)
	}
}

func TestNodePortsAndEndpointsAreUniqueForEverySeed(t *testing.T) {
	for seed := range uint64(50) {
		p := plan(seed)
		ports := map[uint16]bool{}
		for i := range p.Largest() + 1 { // with the one of the data path
			port := p.NodePort(i)
			if ports[port] || port < 30000 || port > 32767 {
				t.Fatalf("seed %d: node port %d of Service %d is taken or out of range", seed, port, i)
			}
			ports[port] = true
		}
	}
	p := plan(7)
	pods := netip.MustParsePrefix("10.128.0.0/10")
	seen := make([]bool, 1<<(32-pods.Bits()))
	for i := range p.Largest() {
		for j := 0; j < objects.EndpointsEach; j += 1 + i%7*50 { // not all of three millions
			e := p.Endpoint(i, j)
			a := e.Addr().As4()
			host := binary.BigEndian.Uint32(a[:]) & (1<<(32-pods.Bits()) - 1)
			if !pods.Contains(e.Addr()) || e.Port() != 8080 || seen[host] {
				t.Fatalf("endpoint %d of Service %d is %s: taken, or elsewhere", j, i, e)
			}
			seen[host] = true
		}
	}
}

func TestASizeSelectsThatManyServicesWithTheirSlicesAndNotTheDataPath(t *testing.T) {
	p := plan(1)
	service, both := p.DataPath()
	for _, size := range p.Sizes {
		for _, c := range []struct {
			name, selector string
			dataPath       bool
		}{{"size", p.Selector(size), false}, {"with data path", p.DataPathSelector(size), true}} {
			s, err := labels.Parse(c.selector)
			if err != nil {
				t.Fatal(err)
			}
			for i := range p.Largest() {
				selected := []map[string]string{p.Service(i).Labels}
				if i%50 == 49 || i%50 == 0 {
					selected = append(selected, p.Slice(i).Labels)
				}
				for _, l := range selected {
					if got, want := s.Matches(labels.Set(l)), i < size; got != want {
						t.Fatalf("%s %d: Service %d is selected: %v", c.name, size, i, got)
					}
				}
			}
			if s.Matches(labels.Set(service.Labels)) != c.dataPath || s.Matches(labels.Set(both[0].Labels)) != c.dataPath {
				t.Errorf("%s %d: the data path is selected: %v", c.name, size, !c.dataPath)
			}
		}
	}
}

func TestTheFrontendsAndEndpointsAreThoseOfTheObjects(t *testing.T) {
	p := plan(3)
	for _, i := range []int{0, 1234} {
		keys := p.Frontends(i)
		if len(keys) != 2 || keys[0].Addr == keys[1].Addr || int32(keys[0].Port) != p.Service(i).Spec.Ports[0].NodePort {
			t.Errorf("frontends %v of %v", keys, p.Service(i).Spec.Ports)
		}
		slice := p.Slice(i)
		if len(slice.Endpoints) != p.Endpoints {
			t.Fatalf("%d endpoints", len(slice.Endpoints))
		}
		for j, e := range slice.Endpoints {
			if want := p.Endpoint(i, j); e.Addresses[0] != want.Addr().String() || *slice.Ports[0].Port != int32(want.Port()) || *e.NodeName == objects.Node {
				t.Errorf("endpoint %d is %v on %s, want %s elsewhere", j, e.Addresses, *e.NodeName, want)
			}
		}
	}
	if s := p.Service(0); *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || s.Spec.Selector != nil {
		t.Errorf("Service %+v", s.Spec)
	}
}

func TestAPlanThatCannotBeMadeIsRefused(t *testing.T) {
	for name, p := range map[string]objects.Plan{
		"no sizes":             {Endpoints: 1},
		"descending":           {Sizes: []int{2, 1}, Endpoints: 1},
		"twice the same":       {Sizes: []int{2, 2}, Endpoints: 1},
		"none":                 {Sizes: []int{0}, Endpoints: 1},
		"more than node ports": {Sizes: []int{2768}, Endpoints: 1},
		"no endpoints":         {Sizes: []int{1}},
		"too many endpoints":   {Sizes: []int{1}, Endpoints: 101},
	} {
		if p.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := plan(1).Validate(); err != nil {
		t.Error(err)
	}
}
