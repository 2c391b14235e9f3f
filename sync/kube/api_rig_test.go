package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// drainTimeout is the agent's default.
const drainTimeout = 5 * time.Minute

// agent is all of the agent but the node: the client and its informers, which speak HTTP with an API server, the loop, and a
// model of the kernel. It lives in a bubble of synctest.
type agent struct {
	*testing.T
	server *apitest.Server
	source *Informers
	loop   *sync.Reconciler
	kernel *ipvsfake.Kernel
	passes *atomic.Int64
	log    *logLines
	// stop ends the agent and waits for its end.
	stop func()
}

type logLines struct {
	mu    stdsync.Mutex
	lines []string
}

func (l *logLines) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, args)
	}, funcr.Options{})
}

func (l *logLines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, text) })
}

// nodeAddress is the one address of the node.
type nodeAddress struct{}

func (nodeAddress) Changed() <-chan struct{} { return nil }

func (nodeAddress) Addresses() ([]nodeaddr.Address, bool) {
	return []nodeaddr.Address{{Addr: netip.MustParseAddr("10.1.0.10"), PrefixLen: 24, Interface: "eth0"}}, true
}

// countedSource counts who asks what is new.
type countedSource struct {
	*Informers
	asked *atomic.Int64
}

func (c countedSource) Next() (sync.Update, bool) {
	c.asked.Add(1)
	return c.Informers.Next()
}

func apiServer(t *testing.T, objects ...apitest.Object) *apitest.Server {
	t.Helper()
	server, err := apitest.Start()
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	server.Set(objects...)
	return server
}

// startAgent runs an agent that reads the server. configure may change how it connects.
func startAgent(t *testing.T, server *apitest.Server, configure ...func(*rest.Config)) *agent {
	t.Helper()
	config := &rest.Config{Host: "http://api", Dial: server.Dial, QPS: clientQPS, Burst: clientBurst}
	for _, f := range configure {
		f(config)
	}
	wrapTransport(config)
	client, err := clientFor(config)
	must(t, err)
	a := &agent{T: t, server: server, kernel: ipvsfake.New(), passes: new(atomic.Int64), log: &logLines{}}
	a.source = NewInformers(client, testOptions(), a.log.logger())
	all, err := nodeaddr.ParseSpec([]string{"all"})
	must(t, err)
	a.loop = sync.New(a.log.logger(), sync.Config{
		Source: countedSource{a.source, a.passes}, Addresses: nodeAddress{}, Kernel: a.kernel.Open(),
		Filter: filter.New(filtertest.New(), filter.Options{}), PodsByInterface: true, NodePortAddresses: all,
		Defaults:   sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll},
		SyncPeriod: 30 * time.Second, MinSyncPeriod: 20 * time.Millisecond, DrainTimeout: drainTimeout, AddressGrace: time.Minute,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running stdsync.WaitGroup
	for _, run := range []func(context.Context) error{a.source.Run, a.loop.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	a.stop = func() { cancel(); running.Wait() }
	t.Cleanup(a.stop)
	return a
}

// table is what the kernel has: one line for each virtual server, with its real servers as ADDRESS*WEIGHT.
func (a *agent) table() []string {
	var lines []string
	t := a.kernel.Table()
	for _, key := range t.Keys() {
		line := key.String()
		for _, addr := range t[key].RealKeys() {
			line += fmt.Sprintf(" %s*%d", addr, t[key].Reals[addr].Weight)
		}
		lines = append(lines, line)
	}
	return lines
}

// within returns how long it takes until the kernel has a table, which must not be longer than the bound.
func (a *agent) within(bound time.Duration, want ...string) time.Duration {
	a.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		diff := cmp.Diff(want, a.table())
		if took := time.Since(began); diff == "" {
			return took
		} else if took >= bound {
			a.log.mu.Lock()
			defer a.log.mu.Unlock()
			a.Fatalf("after %v the kernel's table (-want +got):\n%s\nasked: %v\nlog:\n%s", took, diff, a.server.Asked(),
				strings.Join(a.log.lines[max(0, len(a.log.lines)-10):], "\n"))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// untouched lets time go by, in which nothing may be written to the kernel.
func (a *agent) untouched(d time.Duration) {
	a.Helper()
	before, writes := a.table(), a.kernel.Writes()
	time.Sleep(d)
	synctest.Wait()
	if n := a.kernel.Writes() - writes; n != 0 {
		a.Errorf("%d writes to the kernel (-before +now):\n%s", n, cmp.Diff(before, a.table()))
	}
}

// web and webSlice are a Service at node port 30080 and its endpoints.
func apiWeb() *corev1.Service {
	svc := webService("web", 30080)
	svc.Spec.ClusterIP, svc.Spec.Type, svc.UID = "10.96.0.10", corev1.ServiceTypeNodePort, "uid-web"
	return svc
}

func apiSlice(addresses ...string) *discoveryv1.EndpointSlice { return sliceOf("web", addresses...) }

func sliceOf(service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := ipv4Slice(service, service+"-1", 8080)
	s.UID = types.UID("uid-" + s.Name)
	for _, addr := range addresses {
		e := endpointAt(addr)
		e.Conditions = discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// serving is the table with these endpoints at weight 1.
func serving(addresses ...string) string {
	line := "tcp://10.1.0.10:30080"
	for _, addr := range addresses {
		line += " " + addr + ":8080*1"
	}
	return line
}
