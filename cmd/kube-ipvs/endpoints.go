package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/traffic"
)

// surroundings are what the endpoints want of the program besides the reconciler.
type surroundings struct {
	logs  *logging
	flags *pflag.FlagSet // those in force, for /flagz
}

// endpoints binds the HTTP endpoints, so that a port in use is known before anything is written. Without the local one, which
// answers people, the node is served all the same.
func (o *options) endpoints(ctx context.Context, s surroundings, i *inspector, r *sync.Reconciler) ([]*listener, error) {
	probes := newProbeCounters()
	registry, err := newRegistry(r.Collector(), probes)
	if err != nil {
		return nil, err
	}
	mux := metricsHandler(o.gatherer(registry, i.meter, s.logs.logger))
	debugHandlers(mux, s.flags, o.profiling)
	shown := i.page()
	mux.Handle("/statusz", shown)
	mux.Handle("/statusz/", shown)
	health, err := listen(ctx, "--healthz-bind-address", o.healthz, healthHandler(r.Health, probes))
	if err != nil {
		return nil, err
	}
	measures, err := listen(ctx, "--metrics-bind-address", o.metrics, namedByAddress(mux))
	if err != nil {
		health.close()
		return nil, err
	}
	questions := socketHandler(i)
	questions.Handle(levelPath, levelHandler(s.logs))
	local, err := listenLocally(ctx, socketName, questions)
	if err != nil {
		s.logs.logger.Info("Nobody can ask this agent with kube-ipvs status and its kin: its socket cannot be made", "reason", err.Error())
	}
	return []*listener{health, measures, local}, nil
}

// trafficMetricsFlags bound the metrics of traffic.
func (o *options) trafficMetricsFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.trafficMetrics, "traffic-metrics", string(traffic.Services), "metrics of traffic: none, services (a set for each Service port) or endpoints (and one for each endpoint): `detail`")
	flags.IntVar(&o.trafficMetricsLimit, "traffic-metrics-limit", traffic.DefaultLimit, "the largest `number` of Service ports and endpoints with metrics of their own; what is beyond it is left out, and counted")
}

func (o *options) validateTrafficMetrics() []error {
	var errs []error
	if _, err := traffic.ParseDetail(o.trafficMetrics); err != nil {
		errs = append(errs, fmt.Errorf("--traffic-metrics: %w", err))
	}
	if o.trafficMetricsLimit < 1 {
		errs = append(errs, fmt.Errorf("--traffic-metrics-limit: %d is not a number of Service ports: --traffic-metrics=none leaves all out", o.trafficMetricsLimit))
	}
	return errs
}

// scrapeAge is how old the counters in metrics may be: the kernel brings its own up to date every two seconds, and two servers
// that scrape at the same time make one reading.
const scrapeAge = 2 * time.Second

// gatherer has all metrics.
func (o *options) gatherer(registry *prometheus.Registry, meter *traffic.Meter, log logr.Logger) prometheus.TransactionalGatherer {
	if meter == nil {
		return prometheus.ToTransactionalGatherer(registry)
	}
	return traffic.NewGatherer(registry, meter, traffic.GathererOptions{
		Detail: traffic.Detail(o.trafficMetrics), Limit: o.trafficMetricsLimit, MaxAge: scrapeAge, Log: log,
	})
}

// newMeter counts traffic. The kernel's counters are opened when they are asked for.
func (o *options) newMeter(serving *sync.Reconciler) (meter *traffic.Meter, finish func()) {
	reader := &lateCounters{open: func() (ipvs.StatsReader, error) { return ipvs.OpenStats(ipvs.Options{}) }}
	return traffic.NewMeter(reader, serving.Serving, traffic.Options{OnlyAsked: o.trafficMetrics != string(traffic.Endpoints)}), func() { _ = reader.Close() }
}

// trafficDetails are the values of --traffic-metrics.
func trafficDetails() []string {
	return []string{string(traffic.None), string(traffic.Services), string(traffic.Endpoints)}
}

// namedByAddress refuses requests to loopback that call it by another name than localhost or an address: a page somewhere else
// has made its own name mean this machine (DNS rebinding), to read with the help of a browser here what it cannot reach.
func namedByAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		local, _ := request.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		name := request.Host
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		_, err := netip.ParseAddr(strings.Trim(name, "[]"))
		if local != nil && local.IP.IsLoopback() && err != nil && name != "localhost" {
			http.Error(w, "on loopback this is called 127.0.0.1 or localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, request)
	})
}
