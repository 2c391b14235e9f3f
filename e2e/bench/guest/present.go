package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/observe"
)

// present is which endpoints the Services have now: every change brings one that was never there. Different Services
// may be changed by different goroutines.
type present struct {
	plan      objects.Plan
	endpoints [][]netip.AddrPort // by Service
	next      []int              // by Service, of objects.Plan.Endpoint
}

func newPresent(p objects.Plan) *present {
	now := &present{plan: p, endpoints: make([][]netip.AddrPort, p.Largest()), next: make([]int, p.Largest())}
	for i := range now.endpoints {
		for j := range p.Endpoints {
			now.endpoints[i] = append(now.endpoints[i], p.Endpoint(i, j))
		}
		now.next[i] = p.Endpoints
	}
	return now
}

// want is what the kernel should have of some Services.
func (n *present) want(services []int) observe.Want {
	want := observe.Want{}
	for _, i := range services {
		for _, key := range n.plan.Frontends(i) {
			want[key] = n.endpoints[i]
		}
	}
	return want
}

// change is a replacement of one endpoint of a Service by a fresh one.
type change struct {
	service, slot int
	fresh         netip.AddrPort
}

// change chooses the endpoint that has been there longest.
func (n *present) change(service int) (change, error) {
	number := n.next[service]
	if number >= objects.EndpointsEach {
		return change{}, errors.New("the Service has had all endpoints that there are")
	}
	return change{service: service, slot: number % n.plan.Endpoints, fresh: n.plan.Endpoint(service, number)}, nil
}

// made takes in a change that the API server has accepted.
func (n *present) made(c change) {
	n.next[c.service]++
	n.endpoints[c.service] = slices.Clone(n.endpoints[c.service]) // others may read the former
	n.endpoints[c.service][c.slot] = c.fresh
}

// patch is the change as a JSON patch.
func (c change) patch() ([]byte, error) {
	return json.Marshal([]map[string]any{{
		"op": "replace", "path": fmt.Sprintf("/endpoints/%d/addresses/0", c.slot), "value": c.fresh.Addr().String(),
	}})
}

// make makes the change.
func (n *present) make(ctx context.Context, client kubernetes.Interface, c change) error {
	patch, err := c.patch()
	if err != nil {
		return fmt.Errorf("change Service %d: %w", c.service, err)
	}
	name := n.plan.Slice(c.service).Name
	_, err = client.DiscoveryV1().EndpointSlices(objects.Namespace).Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("change Service %d: %w", c.service, err)
	}
	n.made(c)
	return nil
}
