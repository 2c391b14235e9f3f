package sync

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of kube-proxy that mean the same here, under the names by which dashboards and alerts know them (kubernetes
// pkg/proxy/metrics/metrics.go). They have no label ip_family: one pass serves both families.
type kubeProxyDescriptions struct {
	synced, queued                                                   *prometheus.Desc
	services, servicesPending, endpointSlices, endpointSlicesPending *prometheus.Desc
	noLocal                                                          *prometheus.Desc
}

func kubeProxyName(name string) string { return prometheus.BuildFQName("", "kubeproxy", name) }

func newKubeProxyDescriptions() kubeProxyDescriptions {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(kubeProxyName(name), help, labels, nil)
	}
	return kubeProxyDescriptions{
		synced:                desc("sync_proxy_rules_last_timestamp_seconds", "When the node ports were last synced without a failure, 0 if never."),
		queued:                desc("sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came that has to be synced, 0 before everything was read once."),
		services:              desc("sync_proxy_rules_service_changes_total", "Services that came, changed or went."),
		servicesPending:       desc("sync_proxy_rules_service_changes_pending", "Changes of Services that no pass has looked at yet."),
		endpointSlices:        desc("sync_proxy_rules_endpoint_changes_total", "EndpointSlices that came, changed or went."),
		endpointSlicesPending: desc("sync_proxy_rules_endpoint_changes_pending", "Changes of EndpointSlices that no pass has looked at yet."),
		noLocal: desc("sync_proxy_rules_no_local_endpoints_total",
			"Service ports with a Local traffic policy that have endpoints, but none on this node.", "traffic_policy"),
	}
}

func (c *collector) collectKubeProxy(counter, gauge send, s Status) {
	d := c.kubeProxy
	var changes Changes
	if source := c.reconciler.Source; source != nil {
		changes = source.Changes()
	}
	gauge(d.synced, timestamp(s.Synced))
	gauge(d.queued, timestamp(changes.Queued))
	counter(d.services, float64(changes.Services.Total))
	gauge(d.servicesPending, float64(changes.Services.Pending))
	counter(d.endpointSlices, float64(changes.EndpointSlices.Total))
	gauge(d.endpointSlicesPending, float64(changes.EndpointSlices.Pending))
	gauge(d.noLocal, float64(s.NoLocal), "external")
}

// histograms are kept from pass to pass; everything else that is measured is a number that somebody has anyway.
type histograms struct {
	duration, programming, operations prometheus.Histogram
}

func newHistograms() histograms {
	return histograms{
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    kubeProxyName("sync_proxy_rules_duration_seconds"),
			Help:    "How long a pass took that had something to sync or to audit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		programming: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    kubeProxyName("network_programming_duration_seconds"),
			Help:    "From a change of endpoints, by the clock of the control plane, until the kernel has it.",
			Buckets: programmingBuckets(),
		}),
		operations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_ipvs_sync_operations",
			Help:    "Operations on the IPVS table in one pass that wrote to it.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000},
		}),
	}
}

// programmingBuckets are kube-proxy's. What is in the first comes from clocks that disagree.
func programmingBuckets() []float64 {
	buckets := []float64{0, 0.25, 0.5}
	for _, row := range []struct{ start, width, count float64 }{{1, 1, 59}, {60, 5, 12}, {120, 30, 7}} {
		buckets = append(buckets, prometheus.LinearBuckets(row.start, row.width, int(row.count))...)
	}
	return buckets
}

// observe takes in what a pass did.
func (h histograms) observe(took time.Duration, p *passReport) {
	if p.sync || p.changed() {
		h.duration.Observe(took.Seconds())
	}
	if n := p.operations(); n > 0 {
		h.operations.Observe(float64(n))
	}
}

func (h histograms) collect(ch chan<- prometheus.Metric) {
	for _, m := range []prometheus.Metric{h.duration, h.programming, h.operations} {
		ch <- m
	}
}
