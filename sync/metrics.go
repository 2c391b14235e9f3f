package sync

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Collector gives the counters and the status of a reconciler to Prometheus.
func (r *Reconciler) Collector() prometheus.Collector {
	return &collector{reconciler: r, d: newDescriptions(), kubeProxy: newKubeProxyDescriptions()}
}

type collector struct {
	reconciler *Reconciler
	d          descriptions
	kubeProxy  kubeProxyDescriptions
}

type descriptions struct {
	passes, busy, operations, transactions, drift           *prometheus.Desc
	synced, audited                                         *prometheus.Desc
	frontends, reals, leaving, addresses, foreign, problems *prometheus.Desc
}

func newDescriptions() descriptions {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kube_ipvs_"+name, help, labels, nil)
	}
	return descriptions{
		passes:       desc("sync_passes_total", "Passes of the reconcile loop by result: ok, failed.", "result"),
		busy:         desc("sync_seconds_total", "Time spent in passes of the reconcile loop."),
		operations:   desc("kernel_operations_total", "Operations on the IPVS table by verb and result: done, refused.", "verb", "result"),
		transactions: desc("nftables_transactions_total", "Transactions of nftables by result: done, failed.", "result"),
		drift:        desc("drift_repaired_total", "Differences between kernel and memory that an audit found and repaired."),
		synced:       desc("sync_last_success_timestamp_seconds", "When a pass last ended without a failure, 0 if none has."),
		audited:      desc("audit_last_success_timestamp_seconds", "When an audit last ended that read back all of ours, 0 if none has. It is older than two sync periods if audits do not keep up, or if there are more than 2,400 virtual servers to a period of 30 s."),
		frontends:    desc("virtual_servers", "Virtual servers of ours in the kernel."),
		reals:        desc("real_servers", "Real servers of ours in the kernel, draining ones included."),
		leaving:      desc("real_servers_draining", "Real servers that wait for their connections to end."),
		addresses:    desc("serving_addresses", "Addresses of this node that serve node ports."),
		foreign:      desc("foreign_virtual_servers", "Virtual servers on node ports of this node that are not ours."),
		problems:     desc("problems", "What users wrote and is not in force, by reason.", "reason"),
	}
}

// send hands over one value.
type send func(d *prometheus.Desc, value float64, labels ...string)

// Describe is that of prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect is that of prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	var counter, gauge send = func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}, func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	n, s := c.reconciler.Counters(), c.reconciler.Status()
	counter(c.d.passes, float64(n.Passes-n.FailedPasses), "ok")
	counter(c.d.passes, float64(n.FailedPasses), "failed")
	counter(c.d.busy, n.Busy.Seconds())
	for _, verb := range ipvs.Verbs() {
		counter(c.d.operations, float64(n.Done[verb]), verb.String(), "done")
		counter(c.d.operations, float64(n.Refused[verb]), verb.String(), "refused")
	}
	counter(c.d.transactions, float64(n.Transactions-n.FailedTransactions), "done")
	counter(c.d.transactions, float64(n.FailedTransactions), "failed")
	counter(c.d.drift, float64(n.Drift))
	gauge(c.d.synced, timestamp(s.Synced))
	gauge(c.d.audited, timestamp(s.Audited))
	gauge(c.d.frontends, float64(s.Frontends))
	gauge(c.d.reals, float64(s.RealServers))
	gauge(c.d.leaving, float64(s.Leaving))
	gauge(c.d.addresses, float64(len(s.Addresses)))
	gauge(c.d.foreign, float64(len(s.Foreign)))
	count := map[Reason]int{}
	for _, reason := range Reasons() {
		count[reason] = 0
	}
	for _, p := range s.Problems {
		count[p.Reason]++
	}
	for reason, n := range count {
		gauge(c.d.problems, float64(n), string(reason))
	}
	c.collectKubeProxy(counter, gauge, s)
	c.reconciler.histograms.collect(ch)
}

// timestamp is a moment as Prometheus has it; 0 if there was none.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
