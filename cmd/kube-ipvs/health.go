package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// probeCounters count the answers to /healthz and /livez by their status, as kube-proxy does.
type probeCounters struct {
	healthz, livez *prometheus.CounterVec
}

func newProbeCounters() probeCounters {
	counter := func(name, path string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prometheus.BuildFQName("", "kubeproxy", name), Help: "Answers to " + path + " by HTTP status.",
		}, []string{"code"})
		for _, code := range []int{http.StatusOK, http.StatusServiceUnavailable} {
			c.WithLabelValues(strconv.Itoa(code)) // 0 is not the same as nothing
		}
		return c
	}
	return probeCounters{healthz: counter("proxy_healthz_total", "/healthz"), livez: counter("proxy_livez_total", "/livez")}
}

// Describe is that of prometheus.Collector.
func (p probeCounters) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect is that of prometheus.Collector.
func (p probeCounters) Collect(ch chan<- prometheus.Metric) {
	p.healthz.Collect(ch)
	p.livez.Collect(ch)
}

// healthAnswer is the body of /healthz, /livez and /readyz. The first three fields are kube-proxy's (KEP-3836), which counts an
// agent without arrears as updated this moment.
type healthAnswer struct {
	LastUpdated string `json:"lastUpdated,omitempty"` // missing if nothing was ever synced
	CurrentTime string `json:"currentTime"`
	// NodeEligible is in the body of /healthz alone.
	NodeEligible *bool `json:"nodeEligible,omitempty"`
	// Reason says in words why the answer is 503.
	Reason string `json:"reason,omitempty"`
}

// healthHandler answers
//
//   - /healthz for load balancers: 503 until the node ports are served, whenever they have not been kept so for a while, and when the
//     node is about to go away;
//   - /readyz for the Pod: the same without the node, which is no reason to call the agent unfit;
//   - /livez for the kubelet: 503 only if the agent is stuck, since a restart mends nothing else. kube-proxy's is 503
//     whenever its rules are late.
func healthHandler(health func(time.Time) sync.Health, probes probeCounters) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h, a := ask(health)
		eligible := h.Ineligible == ""
		a.NodeEligible = &eligible
		if h.Ready {
			a.Reason = h.Ineligible
		}
		probes.healthz.WithLabelValues(a.write(w, h.Ready && eligible)).Inc()
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		h, a := ask(health)
		a.write(w, h.Ready)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		h, a := ask(health)
		probes.livez.WithLabelValues(a.write(w, h.Alive)).Inc()
	})
	return mux
}

// ask is the health of now and what there is to say of it.
func ask(health func(time.Time) sync.Health) (sync.Health, healthAnswer) {
	now := time.Now()
	h := health(now)
	a := healthAnswer{CurrentTime: now.Format(time.RFC3339), Reason: h.Reason}
	switch {
	case h.Ready:
		a.LastUpdated = a.CurrentTime
	case !h.Synced.IsZero():
		a.LastUpdated = h.Synced.Format(time.RFC3339)
	}
	return h, a
}

// write sends the answer and returns its status.
func (a healthAnswer) write(w http.ResponseWriter, good bool) (code string) {
	status := http.StatusOK
	if !good {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client is gone: nobody is left to tell
	return strconv.Itoa(status)
}
