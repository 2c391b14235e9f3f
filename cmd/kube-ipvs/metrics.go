package main

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRegistry has what the agent exports: its build, its process, and what own collects.
func newRegistry(own ...prometheus.Collector) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kube_ipvs_build_info", Help: "Always 1; the version is a label.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	for _, c := range append(own, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return registry, nil
}

// metricsHandler answers /metrics. What cannot be gathered does not keep the rest from being read, which may say why.
func metricsHandler(from prometheus.TransactionalGatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerForTransactional(from, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}
