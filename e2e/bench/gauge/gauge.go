// Package gauge stands between a program and the API server: it is where both are seen with one clock. It speaks plain HTTP/1.1 to the
// program and is an administrator to the API server.
//
//	program ── HTTP/1.1 ── gauge ── TLS, HTTP/1.1 ── API server
//	                         └ when does the change begin to go out?
//
// It understands requests, and of answers nothing: what is waited for is found by its bytes, which are the same in JSON and in protobuf.
package gauge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
)

// Gauge passes requests on.
type Gauge struct {
	server   *url.URL
	selector string
	idle     func() // closes connections to the API server that nobody uses
	proxy    *httputil.ReverseProxy
	serve    *http.Server
	markers  markers
	bytes    atomic.Uint64

	mu       sync.Mutex
	requests map[string]int
}

// New is a gauge before the API server of config, which shows of Services and EndpointSlices those alone that match selector
// (added to whatever selector a request has); "" is all. Single objects are shown to those who ask for them by name.
func New(config *rest.Config, selector string) (*Gauge, error) {
	if _, err := labels.Parse(selector); err != nil {
		return nil, fmt.Errorf("label selector %q: %w", selector, err)
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	transport, err := transportTo(config)
	if err != nil {
		return nil, err
	}
	through, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, fmt.Errorf("credentials for the API server: %w", err)
	}
	g := &Gauge{server: server, selector: selector, idle: transport.CloseIdleConnections, requests: map[string]int{}}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:       g.rewrite,
		Transport:     through,
		FlushInterval: -1, // at once: an event that waits here would be measured as if the program had it
		ErrorHandler:  refuse,
		ErrorLog:      log.New(io.Discard, "", 0), // a program that ends breaks its watches off
	}
	g.serve = &http.Server{Handler: g, ErrorLog: log.New(io.Discard, "", 0)}
	return g, nil
}

// transportTo is HTTP/1.1: each watch has a connection of its own, and waits for no list that is under way on the same.
func transportTo(config *rest.Config) (*http.Transport, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("TLS to the API server: %w", err)
	}
	if tls != nil {
		tls.NextProtos = []string{"http/1.1"}
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		TLSClientConfig:     tls,
		Protocols:           &protocols,
		DisableCompression:  true, // the program says whether it wants it
		MaxIdleConnsPerHost: 100,
		ReadBufferSize:      64 << 10,
		DialContext:         config.Dial,
	}, nil
}

// Serve answers on l until Close.
func (g *Gauge) Serve(l net.Listener) error {
	if err := g.serve.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve at %s: %w", l.Addr(), err)
	}
	return nil
}

// ServeHTTP passes one request on.
func (g *Gauge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked := readRequest(r)
	g.mu.Lock()
	g.requests[asked.String()]++
	g.mu.Unlock()
	out := &writer{ResponseWriter: w, bytes: &g.bytes}
	if asked.verb == "WATCH" {
		out.markers = &g.markers
	}
	g.proxy.ServeHTTP(out, r)
}

// rewrite makes the program's request one of the administrator's.
func (g *Gauge) rewrite(p *httputil.ProxyRequest) {
	p.SetURL(g.server)
	p.Out.Header.Del("Authorization")
	asked := readRequest(p.In)
	if asked.verb == "WATCH" {
		p.Out.Header.Set("Accept-Encoding", "identity") // compressed, no marker would be found
	}
	if g.selector == "" || !asked.selects() {
		return
	}
	query := p.Out.URL.Query()
	selector := g.selector
	if own := query.Get("labelSelector"); own != "" {
		selector = own + "," + selector
	}
	query.Set("labelSelector", selector)
	p.Out.URL.RawQuery = query.Encode()
}

// refuse answers for an API server that cannot be asked.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the program has left
	}
	http.Error(w, err.Error(), http.StatusBadGateway)
}

// Await returns when bytes that contain marker begin to be passed to the program, as part of a watch (or a streamed list): the channel gets the
// time right before the write. It is to be asked for before the change is made. One marker is waited for once. The marker must be the same
// in JSON as it is written (no quotes, no <, > or &), and no part of something that comes before it.
func (g *Gauge) Await(marker string) <-chan time.Time { return g.markers.await(marker) }

// Kubeconfig is one that leads to a gauge at this address: plain HTTP, no credentials.
func Kubeconfig(at net.Addr) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: gauge
  cluster: {server: "http://%s"}
users:
- name: nobody
  user: {}
contexts:
- name: gauge
  context: {cluster: gauge, user: nobody}
current-context: gauge
`, at)
}

// Traffic is what has passed since the start.
type Traffic struct {
	Requests map[string]int // by verb and resource: "LIST services"
	Bytes    uint64         // of bodies, to the program
}

// Traffic returns what has passed.
func (g *Gauge) Traffic() Traffic {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Traffic{maps.Clone(g.requests), g.bytes.Load()}
}

// Close ends all connections. What is waited for is not going to come any more.
func (g *Gauge) Close() error {
	err := g.serve.Close()
	g.idle()
	return err
}
