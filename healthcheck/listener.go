package healthcheck

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
)

// listener answers on one address and port.
type listener struct {
	socket  net.Listener
	http    *http.Server
	healthy func() bool
	answer  atomic.Pointer[Check]
	ended   chan struct{} // closed when nobody accepts any more
}

// say changes the answer.
func (l *listener) say(check Check) {
	if *l.answer.Load() != check {
		l.answer.Store(&check)
	}
}

// close gives the address up at once: it can be listened on again when close returns.
func (l *listener) close() {
	_ = l.socket.Close() // first: the server may not have taken the socket over yet
	_ = l.http.Close()
}

// hasEnded reports that the kernel refused to accept any further connection.
func (l *listener) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// The body of an answer, as kube-proxy writes it.
type (
	body struct {
		Service             service `json:"service"`
		LocalEndpoints      int     `json:"localEndpoints"`
		ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
	}
	service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
)

// ServeHTTP answers any request with 200 if the Service has endpoints here and the node is healthy, else with 503.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	check, healthy := *l.answer.Load(), l.healthy()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(check.LocalEndpoints))
	if r.ContentLength != 0 {
		h.Set("Connection", "close") // else the answer would wait for a body that nobody reads
	}
	if healthy && check.LocalEndpoints > 0 {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body{ // the client is gone: nobody is left to tell
		Service:             service{Namespace: check.Namespace, Name: check.Name},
		LocalEndpoints:      check.LocalEndpoints,
		ServiceProxyHealthy: healthy,
	})
}
