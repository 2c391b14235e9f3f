package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// healthHandler answers /healthz and /readyz with 503 until the node ports are served and whenever they have not been
// kept so for a while, and /livez with 503 only if the agent is stuck: that is the one that should restart it.
func healthHandler(health func(time.Time) sync.Health) http.Handler {
	answer := func(good func(sync.Health) bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			now := time.Now()
			h := health(now)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			if !good(h) {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			body := map[string]string{"currentTime": now.Format(time.RFC3339)}
			if !h.Synced.IsZero() {
				body["lastUpdated"] = h.Synced.Format(time.RFC3339)
			}
			if h.Reason != "" {
				body["reason"] = h.Reason
			}
			_ = json.NewEncoder(w).Encode(body) // the client is gone: nobody is left to tell
		}
	}
	mux := http.NewServeMux()
	ready := answer(func(h sync.Health) bool { return h.Ready })
	mux.HandleFunc("GET /healthz", ready)
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("GET /livez", answer(func(h sync.Health) bool { return h.Alive }))
	return mux
}

func metricsHandler(own prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kube_ipvs_build_info", Help: "Always 1; the version is a label.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	for _, c := range []prometheus.Collector{
		own, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux, nil
}

// listener is an HTTP endpoint that is bound and not serving yet.
type listener struct {
	net.Listener
	handler http.Handler
}

// listen binds address, so that a port in use is an error at the start. An empty address gives nil.
func listen(ctx context.Context, flag, address string, handler http.Handler) (*listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &listener{Listener: l, handler: handler}, nil
}

// close gives the address up, if it was bound.
func (l *listener) close() {
	if l != nil {
		_ = l.Close()
	}
}

// serve answers until ctx ends.
func (l *listener) serve(ctx context.Context) error {
	if l == nil {
		return nil
	}
	server := &http.Server{Handler: l.handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}
