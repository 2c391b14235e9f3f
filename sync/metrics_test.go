package sync

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// scrape is what a reconciler exports, by "name{labels}".
func scrape(t *testing.T, r *Reconciler) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.Collector())
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	values := map[string]float64{}
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[name] = value
	}
	return values
}

func TestMetricsSayWhatStatusAndCountersSay(t *testing.T) {
	src := newSource()
	src.changes = Changes{
		Services: ChangeCount{Total: 21, Pending: 1}, EndpointSlices: ChangeCount{Total: 22, Pending: 2}, Queued: time.UnixMilli(1000500),
	}
	r := New(logr.Discard(), Config{Source: src})
	r.board.status = Status{
		Synced: time.Unix(1000, 0), Audited: time.Unix(990, 0), Frontends: 1, RealServers: 2, Leaving: 3, Foreign: make([]frontend.Key, 4), NoLocal: 8,
	}
	r.board.source = []Problem{{Reason: Conflict}, {Reason: Conflict}, {Reason: Invalid}}
	r.board.counters = Counters{
		Passes: 30, FailedPasses: 10, Transactions: 50, FailedTransactions: 11, Drift: 5, Busy: 1500 * time.Millisecond,
		Done: map[ipvs.Verb]uint64{ipvs.AddReal: 6}, Refused: map[ipvs.Verb]uint64{ipvs.AddReal: 7},
	}
	have := scrape(t, r)
	for name, want := range map[string]float64{
		`sync_passes_total{result="ok"}`: 20, `sync_passes_total{result="failed"}`: 10, `sync_seconds_total`: 1.5,
		`nftables_transactions_total{result="done"}`: 39, `nftables_transactions_total{result="failed"}`: 11,
		`kernel_operations_total{result="done",verb="add-real"}`: 6, `kernel_operations_total{result="refused",verb="add-real"}`: 7,
		`kernel_operations_total{result="done",verb="delete-real"}`: 0, `drift_repaired_total`: 5, `sync_last_success_timestamp_seconds`: 1000, `audit_last_success_timestamp_seconds`: 990,
		`virtual_servers`: 1, `real_servers`: 2, `real_servers_draining`: 3, `foreign_virtual_servers`: 4, `serving_addresses`: 0,
		`problems{reason="conflict"}`: 2, `problems{reason="invalid"}`: 1, `problems{reason="no-address"}`: 0,
	} {
		if value, there := have["kube_ipvs_"+name]; !there || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, there, want)
		}
	}
	for name, want := range map[string]float64{
		`last_timestamp_seconds`: 1000, `last_queued_timestamp_seconds`: 1000.5, `service_changes_total`: 21, `service_changes_pending`: 1,
		`endpoint_changes_total`: 22, `endpoint_changes_pending`: 2, `no_local_endpoints_total{traffic_policy="external"}`: 8,
	} {
		if value, there := have["kubeproxy_sync_proxy_rules_"+name]; !there || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, there, want)
		}
	}
}

// A look at departing connections each second would say nothing of how long syncing takes.
func TestPassesAreMeasuredIfThereWasSomethingToSync(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.HealthChecks = nil })
		expect := func(when string, passes, writing, operations float64) {
			t.Helper()
			m := scrape(t, g.Reconciler)
			const duration, ops = "kubeproxy_sync_proxy_rules_duration_seconds_count", "kube_ipvs_sync_operations"
			if m[duration] != passes || m[ops+"_count"] != writing || m[ops+"_sum"] != operations {
				t.Errorf("%s: %v passes, of which %v wrote %v operations; want %v, %v, %v",
					when, m[duration], m[ops+"_count"], m[ops+"_sum"], passes, writing, operations)
			}
		}
		g.serve(web(stays, leaves))
		expect("at first", 1, 1, 3)
		busy(kernel, 1)
		g.deliver(web(stays))
		expect("when one leaves", 2, 2, 4)
		before := g.Counters().Passes
		g.after(20 * time.Second)
		expect("while it is looked at", 2, 2, 4)
		if n := g.Counters().Passes - before; n < 15 {
			t.Fatalf("%d passes in 20 s, want one each second", n)
		}
		g.after(11 * time.Second)
		expect("after an audit", 3, 2, 4)
		busy(kernel, 0)
		g.after(5 * time.Second)
		expect("when it is deleted", 4, 3, 5)
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30081)))
		g.deliver(service("bad", 30081, stays))
		expect("when a Service is refused", 5, 3, 5)
		g.after(600 * time.Millisecond)
		expect("when it is tried again", 6, 3, 5)
		g.deliver(web(stays))
		expect("when a Service comes that is as it was", 7, 3, 5)
		g.source.deliver(func(u *Update) { u.Node = &Node{Name: "node1"} })
		synctest.Wait()
		expect("when the Node comes", 8, 3, 5)
	})
}

// Dashboards of kube-proxy's add buckets of several nodes up: they have to be the same.
func TestBucketsOfProgrammingAreThoseOfKubeProxy(t *testing.T) {
	b := programmingBuckets()
	for at, want := range map[int]float64{0: 0, 1: 0.25, 2: 0.5, 3: 1, 61: 59, 62: 60, 73: 115, 74: 120, 80: 300} {
		if len(b) != 81 || b[at] != want {
			t.Fatalf("%d buckets, number %d is %v, want 81 and %v", len(b), at, b[at], want)
		}
	}
}
