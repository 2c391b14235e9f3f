package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const namespace = "chaos"

// The ports: of Services that stay, of those that come and go, and of those that nobody asks.
const (
	firstPort   = 30100
	comingPort  = 31000
	comingPorts = 40 // few, so that they are used again
	churnPort   = 31100
)

// world is the cluster: what is in the API server, and in the network.
type world struct {
	net    *topo.Topology
	client kubernetes.Interface
	book   *ledger.Book // nil until the agent knows what there is
	flaps  []flap

	deployments []*deployment
	stays       []*service // those that do not come and go

	mu       sync.Mutex
	services map[string]*service
}

// flap is an address that comes and goes.
type flap struct {
	dev    string
	prefix netip.Prefix
}

// target is what can be asked.
type target struct {
	service string
	at      netip.AddrPort
}

func newWorld(ctx context.Context, r *runner) (*world, error) {
	w := &world{services: map[string]*service{}, flaps: []flap{
		{topo.DevB, netip.MustParsePrefix("10.2.0.20/24")}, {topo.DevB, netip.MustParsePrefix("fd02::20/64")},
	}}
	config := rest.CopyConfig(r.config)
	config.QPS, config.ContentType = -1, runtime.ContentTypeProtobuf
	var err error
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	if w.net, err = topo.New(ctx); err != nil {
		return nil, err
	}
	if err := w.fill(ctx, r); err != nil {
		return nil, fmt.Errorf("%w (%w)", err, w.net.Close())
	}
	return w, nil
}

// fill makes the node, the pods and the Services.
func (w *world) fill(ctx context.Context, r *runner) error {
	for _, f := range w.flaps {
		if err := w.net.Node1.AddAddress(f.dev, f.prefix); err != nil {
			return err
		}
	}
	if err := nodes.Register(ctx, w.client, w.net.Node1, "east"); err != nil {
		return err
	}
	_, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the namespace: %w", err)
	}
	random := r.random(500)
	for i := range r.Deployments {
		d := &deployment{name: fmt.Sprintf("d%02d", i)}
		for _, node := range []*topo.Host{w.net.Node1, w.net.Node2} {
			if _, err := w.addPod(ctx, d, node); err != nil {
				return err
			}
		}
		w.deployments = append(w.deployments, d)
		for k := range r.Each {
			s := newService(fmt.Sprintf("%s-%d", d.name, k), d, int32(firstPort+i*r.Each+k), random)
			if err := w.create(ctx, s); err != nil {
				return err
			}
			w.stays = append(w.stays, s)
		}
	}
	return nil
}

// begin notes what there is in the book.
func (w *world) begin(b *ledger.Book) {
	w.book = b
	for _, s := range w.services {
		b.Promise(s.name, s.deployment.name, uint16(s.port))
	}
	for _, d := range w.deployments {
		for _, p := range d.pods {
			b.Pod(p.Name, func(p *ledger.Pod, _ ledger.Time) { p.Deployment = d.name })
		}
	}
}

// addresses are those of the node that serve, those that come and go included.
func (w *world) addresses() []netip.Addr {
	n := w.net.Node1
	all := []netip.Addr{n.A4, n.A6, n.B4, n.B6}
	for _, f := range w.flaps {
		all = append(all, f.prefix.Addr())
	}
	return all
}

// freePort is the next one that no Service has which stays.
func (w *world) freePort(after int32) int32 {
	for {
		if after++; after >= comingPort {
			after = firstPort
		}
		if !slices.ContainsFunc(w.stays, func(s *service) bool { return s.port == after }) {
			return after
		}
	}
}

// comesAndGoes says whether an address does.
func (w *world) comesAndGoes(addr netip.Addr) bool {
	return slices.ContainsFunc(w.flaps, func(f flap) bool { return f.prefix.Addr() == addr })
}

// targets are all Services that are there, by name.
func (w *world) targets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.services))
}

// choose is some Service on some address.
func (w *world) choose(random *rand.Rand) target {
	names := w.targets()
	name := names[random.IntN(len(names))]
	addresses := w.addresses()
	addr := addresses[random.IntN(len(addresses))]
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.services[name]
	if s == nil { // it has gone meanwhile: another time
		s = w.services[w.any()]
	}
	return target{s.name, netip.AddrPortFrom(addr, uint16(s.port))}
}

// any is the name of one of those that stay.
func (w *world) any() string { return w.deployments[0].name + "-0" }

// has says whether a Service has its port still.
func (w *world) has(t target) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.services[t.service]
	return s != nil && uint16(s.port) == t.at.Port()
}

// of are the Services of a deployment.
func (w *world) of(d *deployment) []*service {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*service
	for _, name := range slices.Sorted(maps.Keys(w.services)) {
		if s := w.services[name]; s.deployment == d {
			all = append(all, s)
		}
	}
	return all
}

// size is how many virtual servers there are to be, of what is asked.
func (w *world) size() int { return len(w.targets()) * 2 * len(w.addresses()) }

// addPod starts a pod of a deployment.
func (w *world) addPod(ctx context.Context, d *deployment, node *topo.Host) (*pod, error) {
	d.mu.Lock()
	d.number++
	name := fmt.Sprintf("%s-p%d", d.name, d.number)
	d.mu.Unlock()
	started, err := w.net.AddPod(ctx, node, name)
	if err != nil {
		return nil, err
	}
	p := &pod{Pod: started, node: node}
	if w.book != nil {
		w.book.Pod(name, func(p *ledger.Pod, _ ledger.Time) { p.Deployment = d.name })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pods = append(d.pods, p)
	return p, nil
}

// create makes a Service with its slices, of which the slices come first: it would be served without endpoints for a moment. A roll that
// publishes meanwhile knows it, and waits.
func (w *world) create(ctx context.Context, s *service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.mu.Lock()
	w.services[s.name] = s
	w.mu.Unlock()
	if err := w.writeSlices(ctx, s); err != nil {
		return err
	}
	object, err := w.client.CoreV1().Services(namespace).Create(ctx, s.draft(), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create Service %s: %w", s.name, err)
	}
	s.object = object
	if w.book != nil {
		w.book.Promise(s.name, s.deployment.name, uint16(s.port))
	}
	return nil
}

// change writes a Service after f has changed it. Another port is another promise.
func (w *world) change(ctx context.Context, s *service, f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.mu.Lock()
	before := s.port
	f()
	w.mu.Unlock()
	if s.port != before {
		w.book.Withdraw(s.name)
	}
	draft := s.object.DeepCopy()
	want := s.draft()
	draft.Annotations, draft.Spec.Ports = want.Annotations, want.Spec.Ports
	object, err := w.client.CoreV1().Services(namespace).Update(ctx, draft, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("change Service %s: %w", s.name, err)
	}
	s.object = object
	if s.port != before {
		w.book.Promise(s.name, s.deployment.name, uint16(s.port))
	}
	return nil
}

// remove deletes a Service and its slices.
func (w *world) remove(ctx context.Context, s *service) error {
	w.mu.Lock()
	delete(w.services, s.name)
	w.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	if w.book != nil {
		w.book.Withdraw(s.name)
	}
	err := w.client.CoreV1().Services(namespace).Delete(ctx, s.name, metav1.DeleteOptions{})
	for _, slice := range s.slices {
		if err == nil {
			err = w.client.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, slice.Name, metav1.DeleteOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("delete Service %s: %w", s.name, err)
	}
	return nil
}

// publish writes the slices of all Services of a deployment.
func (w *world) publish(ctx context.Context, d *deployment) error {
	for _, s := range w.of(d) {
		s.mu.Lock()
		var err error
		if !s.gone {
			err = w.writeSlices(ctx, s)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
