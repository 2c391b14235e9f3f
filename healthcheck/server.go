// Package healthcheck answers the health checks of load balancers: does this node have endpoints of a Service?
//
//	wanted: address and port ─► Check ──► Server.Set ──► one listener for each ──► 200 or 503
//	                                          └────────► addresses that cannot be listened on
//
// A load balancer in front of a Service with externalTrafficPolicy Local asks each node on the Service's
// spec.healthCheckNodePort and sends to those that answer 200. The answer is that of kube-proxy (kubernetes
// pkg/proxy/healthcheck/service_health.go): any method and any path, a JSON body, and the number of endpoints in a header.
//
// The package knows addresses and names and nothing of Kubernetes.
package healthcheck

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// limits are on what a client gets. These ports face networks: without limits one client could take the file descriptors
// that the agent needs to program the kernel.
type limits struct {
	request     time.Duration // from its first byte to the last of the answer, each way
	idle        time.Duration // between two requests
	header      int           // bytes
	connections int           // at a time, on one address and port
	all         int           // at a time, on all of them
}

func defaultLimits() limits {
	return limits{request: 5 * time.Second, idle: 5 * time.Second, header: 4 << 10, connections: 64, all: 1024}
}

// Check is what is answered for one Service.
type Check struct {
	Namespace, Name string
	// LocalEndpoints is the number of ready endpoints on this node.
	LocalEndpoints int
}

// Server answers health checks. Make one with New.
type Server struct {
	healthy func() bool
	limits  limits
	room    chan struct{} // has a value for each connection that is open

	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	closed    bool
	serving   sync.WaitGroup
}

// New is a Server that listens nowhere yet. healthy says whether the node serves as it should: while it does not, every
// answer is 503. It is called for each request, from many goroutines.
func New(healthy func() bool) *Server {
	return newServer(healthy, defaultLimits())
}

func newServer(healthy func() bool, l limits) *Server {
	return &Server{healthy: healthy, limits: l, room: make(chan struct{}, l.all), listeners: map[netip.AddrPort]*listener{}}
}

// Set makes what is answered equal to want: it opens the listeners that are missing, closes those that are not wanted,
// connections included, and changes the answers of the others without touching their sockets. It returns the error of
// each address that cannot be listened on; the next Set tries again. It does not wait for clients, and does not keep want.
func (s *Server) Set(want map[netip.AddrPort]Check) map[netip.AddrPort]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, l := range s.listeners {
		if _, wanted := want[addr]; !wanted || l.hasEnded() {
			l.close()
			delete(s.listeners, addr)
		}
	}
	failed := map[netip.AddrPort]error{}
	for addr, check := range want {
		if l, open := s.listeners[addr]; open {
			l.say(check)
			continue
		}
		l, err := s.open(addr, check)
		if err != nil {
			failed[addr] = err
			continue
		}
		s.listeners[addr] = l
	}
	return failed
}

// open listens on addr. The caller holds the mutex.
func (s *Server) open(addr netip.AddrPort, check Check) (*listener, error) {
	if s.closed {
		return nil, fmt.Errorf("listen on %s: %w", addr, http.ErrServerClosed)
	}
	network := "tcp6"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // Go's default, of no use here
	socket, err := plain.Listen(context.Background(), network, addr.String())
	if err != nil {
		return nil, err // names operation and address
	}
	l := &listener{socket: socket, healthy: s.healthy, ended: make(chan struct{})}
	l.answer.Store(&check)
	l.http = &http.Server{
		Handler:        l,
		ReadTimeout:    s.limits.request,
		WriteTimeout:   s.limits.request,
		IdleTimeout:    s.limits.idle,
		MaxHeaderBytes: s.limits.header,
		ErrorLog:       log.New(io.Discard, "", 0), // what clients do wrong would fill the node's log

		DisableGeneralOptionsHandler: true, // net/http itself would answer OPTIONS * with 200, whatever is so
	}
	s.serving.Go(func() {
		defer close(l.ended)
		_ = l.http.Serve(netutil.LimitListener(roomyListener{socket, s.room}, s.limits.connections)) // hasEnded tells, and Set begins anew
	})
	return l, nil
}

// Close closes all listeners and connections. What is set afterwards fails with http.ErrServerClosed.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for addr, l := range s.listeners {
		l.close()
		delete(s.listeners, addr)
	}
	s.serving.Wait()
}
