package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Changes asks how long changes of EndpointSlices take until the kernel of a node has them.
type Changes struct {
	Node      string
	At        netip.Addr // IPv4, of the node: that of the virtual servers that are looked at
	Namespace string     // whose Services each have one IPv4 EndpointSlice by their own name
	Count     int
}

const (
	// lookEvery is how often the kernel is asked. It bounds what is measured from below.
	lookEvery = time.Millisecond
	// restAfter lets the other nodes finish the same change, since all of them share a processor.
	restAfter = 200 * time.Millisecond
	// changePatience is how long one change may take.
	changePatience = 30 * time.Second
)

// measure replaces an endpoint of one Service after the other, and returns the times from the API server's answer to
// the moment at which the virtual server has the new real server: both are seen by this process, with one clock.
func (n *Nodes) measure(ctx context.Context, q Changes) ([]time.Duration, error) {
	host, err := n.node(q.Node)
	if err != nil {
		return nil, err
	}
	var kernel ipvs.Handle
	if err := host.Do(func() (err error) {
		kernel, err = ipvs.Open(ipvs.Options{})
		return err
	}); err != nil {
		return nil, err
	}
	defer kernel.Close()
	services, err := n.kubelet.client.CoreV1().Services(q.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("measure changes: %w", err)
	}
	if len(services.Items) == 0 {
		return nil, errors.New("measure changes: no Services")
	}
	var took []time.Duration
	for i := range q.Count {
		d, err := n.change(ctx, kernel, q.At, &services.Items[i%len(services.Items)], i)
		if err != nil {
			return nil, fmt.Errorf("measure changes: %w", err)
		}
		took = append(took, d)
		time.Sleep(restAfter)
	}
	return took, nil
}

// change replaces the first endpoint of a Service by one that nobody had before.
func (n *Nodes) change(ctx context.Context, kernel ipvs.Handle, at netip.Addr, s *corev1.Service, i int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	slices := n.kubelet.client.DiscoveryV1().EndpointSlices(s.Namespace)
	slice, err := slices.Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	fresh := netip.AddrFrom4([4]byte{10, 245, byte(i >> 8), byte(i)})
	slice.Endpoints[0] = discoveryv1.Endpoint{Addresses: []string{fresh.String()}}
	real := netip.AddrPortFrom(fresh, uint16(*slice.Ports[0].Port))
	key := frontend.NewKey(at, frontend.TCP, uint16(s.Spec.Ports[0].NodePort))
	if _, err := slices.Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		return 0, err
	}
	acknowledged := time.Now()
	for {
		entry, _, err := kernel.Get(ctx, key)
		if err != nil {
			return 0, err
		}
		if entry.Reals[real].Weight > 0 {
			return time.Since(acknowledged), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s of %s is not in the kernel after %v", real, key, changePatience)
		case <-time.After(lookEvery):
		}
	}
}
