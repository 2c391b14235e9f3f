package traffic

import (
	"context"
	"net/netip"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// feed is a Source of Services and the Addresses of a node with one.
type feed struct {
	mu      stdsync.Mutex
	update  sync.Update
	changed chan struct{}
}

func (*feed) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (*feed) Changes() sync.Changes { return sync.Changes{} }

func (f *feed) Changed() <-chan struct{} { return f.changed }

func (f *feed) Next() (sync.Update, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.update
	f.update = sync.Update{}
	return u, true
}

func (*feed) Addresses() ([]nodeaddr.Address, bool) {
	return []nodeaddr.Address{{Addr: netip.MustParseAddr("10.1.0.10"), PrefixLen: 24, Interface: "eth0"}}, true
}

// deliver is a Service with one endpoint.
func (f *feed) deliver(name string, nodePort uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ref := web(name, nodePort)
	f.update.Services = append(f.update.Services, sync.Service{ID: ref.Service, UID: name, Families: sync.IPv4, Ports: []sync.ServicePort{{
		Name: ref.Name, Port: ref.Port, NodePort: nodePort, Protocol: frontend.TCP,
		Endpoints: []sync.Endpoint{{Addr: endpoint(1), Ready: true, Serving: true}},
	}}})
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// stalled is a kernel whose writes wait while it is told to.
type stalled struct {
	ipvs.Handle
	waits atomic.Pointer[chan struct{}]
}

func (s *stalled) Do(ctx context.Context, ops []ipvs.Op) []error {
	if until := s.waits.Load(); until != nil {
		<-*until
	}
	return s.Handle.Do(ctx, ops)
}

// agent is a reconcile loop on a kernel, and what scrapes of it have: the loop's own metrics and traffic.
type agent struct {
	*feed
	*Gatherer
	loop    *sync.Reconciler
	kernel  *ipvsfake.Kernel
	handle  *stalled
	counted *kernel // what the meter reads
}

// running is an agent that serves Service default/web.
func running(t *testing.T) *agent {
	t.Helper()
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{feed: &feed{changed: make(chan struct{}, 1)}, kernel: ipvsfake.New(), counted: newKernel()}
	a.handle = &stalled{Handle: a.kernel}
	a.loop = sync.New(logr.Discard(), sync.Config{
		Source: a.feed, Addresses: &feed{changed: make(chan struct{}, 1)}, Kernel: a.handle, Filter: filter.New(filtertest.New(), filter.Options{}),
		PodsByInterface: true, NodePortAddresses: spec, SyncPeriod: 30 * time.Second, DrainTimeout: time.Minute,
		Defaults: sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: allocator.Range{First: 30000, Last: 32767}},
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(a.loop.Collector())
	a.Gatherer = NewGatherer(registry, NewMeter(a.counted, a.loop.Serving, Options{}), GathererOptions{Detail: Services})
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.loop.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Errorf("the loop ended with %v", err)
		}
	})
	a.deliver("web", 30080)
	synctest.Wait()
	return a
}

func (a *agent) serves(nodePort uint16) bool {
	_, exists := a.kernel.Table()[virtualServer(1, nodePort)]
	return exists
}

func TestScrapesThatWaitForTheKernelDoNotHoldUpTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := running(t)
		a.counted.answer(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		began, scrapes := time.Now(), make(chan string)
		for range 10 {
			go func() { scrapes <- series(t, a.Gatherer) }()
		}
		synctest.Wait() // all of them wait for the kernel
		a.deliver("api", 30081)
		synctest.Wait()
		if !a.serves(30080) || !a.serves(30081) || time.Since(began) != 0 {
			t.Errorf("after %v of hanging scrapes the kernel has %v", time.Since(began), a.kernel.Table().Keys())
		}
		for range 10 {
			if got := <-scrapes; !strings.Contains(got, "kube_ipvs_virtual_servers ") {
				t.Errorf("a scrape is without the loop's own metrics:\n%s", got)
			}
		}
		if took := time.Since(began); took != patience {
			t.Errorf("scrapes took %v, want %v", took, patience)
		}
		time.Sleep(roundLimit) // until the reading is over
	})
}

func TestALoopThatWaitsForTheKernelDoesNotHoldUpScrapes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := running(t)
		a.counted.serve(virtualServer(1, 30080), web("web", 30080), endpoint(1))
		until := make(chan struct{})
		a.handle.waits.Store(&until)
		a.deliver("api", 30081)
		synctest.Wait() // a pass is in the middle of its writes
		if a.serves(30081) {
			t.Fatal("the pass is through, and was to hang")
		}
		began := time.Now()
		got := series(t, a.Gatherer)
		for _, want := range []string{"kube_ipvs_virtual_servers 1\n", `kube_ipvs_service_endpoints{namespace="default",port="http",protocol="TCP",service="web"} 1` + "\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s is not in\n%s", want, got)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the scrape waited %v for a pass", took)
		}
		a.handle.waits.Store(nil)
		close(until)
		synctest.Wait()
		if !a.serves(30081) {
			t.Error("the pass never ended")
		}
	})
}
