package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/observe"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// stageSize is how many Services there are.
const stageSize = 6

// stage is a session with everything around it made up, for a bubble: the API server accepts a change at once, the program
// takes latency to have it in the kernel, and the real server that was replaced stays for as long as stays says. The program takes all of a
// processor, so CPU time is time.
type stage struct {
	*session
	latency, stays time.Duration
	quiet          bool // the machine comes to rest
	out            bytes.Buffer

	mu      sync.Mutex
	patched map[frontend.Key]time.Time
	asked   map[frontend.Key]bool // who of its real servers was asked for
	wanted  map[frontend.Key]bool // what was waited for
	begun   []*actor
}

func newStage(t *testing.T) *stage {
	t.Helper()
	st := &stage{latency: 50 * time.Millisecond, stays: 20 * time.Second, quiet: true, patched: map[frontend.Key]time.Time{}, asked: map[frontend.Key]bool{}, wanted: map[frontend.Key]bool{}}
	p := objects.Plan{Sizes: []int{stageSize}, Endpoints: 3, Seed: 1}
	config := &rest.Config{Host: "http://api.example", Transport: api{st}}
	client, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{
		job:    job.Job{Plan: p, Cutoff: time.Minute, ChangeCutoff: 10 * time.Second, Settle: 25 * time.Second},
		config: config, client: client, now: newPresent(p), began: time.Now(), samples: &st.out, progress: io.Discard,
	}
	st.session = newSession(r, job.Subject{Name: "a", Writes: job.IPVS}, stageSize, plan{}, "")
	st.observer, st.kernel, st.leaving = watcher{st}, model{st: st}, leavers{}
	st.around = around{
		launch: func(counted bool) (process, error) {
			a := &actor{started: time.Now(), counted: counted}
			st.begun = append(st.begun, a)
			return a, nil
		},
		passes: func(ctx context.Context) (time.Time, error) { return time.Now(), pause(ctx, st.latency) },
		arrives: func(string) <-chan time.Time {
			arrived := make(chan time.Time, 1)
			arrived <- time.Now()
			return arrived
		},
		rests: func(ctx context.Context, patience time.Duration) bool {
			if !st.quiet {
				_ = pause(ctx, patience)
			}
			return st.quiet
		},
	}
	if err := st.start(false); err != nil {
		t.Fatal(err)
	}
	return st
}

// emitted are the samples so far.
func (st *stage) emitted(t *testing.T) (all []result.Sample) {
	t.Helper()
	for d := json.NewDecoder(&st.out); d.More(); {
		var one result.Sample
		if err := d.Decode(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// frontends are those of Services.
func (st *stage) frontends(services []int) map[frontend.Key]bool {
	keys := map[frontend.Key]bool{}
	for _, service := range services {
		for _, key := range st.job.Plan.Frontends(service) {
			keys[key] = true
		}
	}
	return keys
}

// api takes changes.
type api struct{ *stage }

func (a api) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for service := range a.job.Plan.Largest() {
		if a.job.Plan.Slice(service).Name == path.Base(r.URL.Path) {
			for key := range a.frontends([]int{service}) {
				a.patched[key] = time.Now()
			}
		}
	}
	const slice = `{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"name":"a"},"addressType":"IPv4"}`
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(slice)), Request: r,
	}, nil
}

// watcher sees a change after the latency.
type watcher struct{ *stage }

func (w watcher) Complete(ctx context.Context, want observe.Want) (time.Time, time.Duration, error) {
	for key := range want {
		w.wanted[key] = true
	}
	err := pause(ctx, w.latency)
	return time.Now(), 0, err
}

func (w watcher) Prepare(frontend.Key, netip.AddrPort) (func(context.Context) (time.Time, error), error) {
	return func(ctx context.Context) (time.Time, error) {
		err := pause(ctx, w.latency)
		return time.Now(), err
	}, nil
}

func (watcher) Close() error { return nil }

// model has one real server more of those that were changed a moment ago.
type model struct {
	ipvs.Handle
	st      *stage
	failure error
}

func (m model) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	m.st.mu.Lock()
	defer m.st.mu.Unlock()
	m.st.asked[key] = true
	if m.failure != nil {
		return ipvs.Entry{}, nil, m.failure
	}
	n := m.st.job.Plan.Endpoints
	if at, changed := m.st.patched[key]; changed && time.Since(at) < m.st.stays {
		n++
	}
	return table{reals: func(frontend.Key) (int, error) { return n, nil }}.Get(ctx, key)
}

// actor is the program.
type actor struct {
	started time.Time
	counted bool
	signals []syscall.Signal
	watched []bool
}

func (a *actor) Started() time.Time     { return a.started }
func (a *actor) Ended() <-chan struct{} { return nil }

func (a *actor) End(s syscall.Signal, _ time.Duration) error {
	a.signals = append(a.signals, s)
	return nil
}

func (a *actor) Watch(on bool) error {
	a.watched = append(a.watched, on)
	return nil
}

func (a *actor) Usage() (result.Usage, error)       { return result.Usage{CPU: time.Since(a.started)}, nil }
func (a *actor) Memory() (now, peak int64, _ error) { return 1, 2, nil }
