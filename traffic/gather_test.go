package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// shop is a kernel with two Services: one with two node ports and traffic, one without any.
func shop() *kernel {
	k := newKernel()
	web := web("web", 30080)
	dns := sync.PortRef{Service: sync.ServiceID{Namespace: "kube-system", Name: "dns"}, Port: 53, NodePort: 30053, Protocol: frontend.UDP}
	k.serve(virtualServer(1, 30080), web, endpoint(1), endpoint(10))
	k.serve(virtualServer(1, 30081), sync.PortRef{Service: web.Service, Name: "http", Port: 80, NodePort: 30081, Protocol: frontend.TCP}, endpoint(1))
	k.serve(frontend.NewKey(netip.MustParseAddr("fd01::10"), frontend.UDP, 30053), dns, netip.MustParseAddrPort("[fd02::1]:53"))
	k.connect(virtualServer(1, 30080), endpoint(1), 3)
	k.connect(virtualServer(1, 30081), endpoint(1), 4)
	k.set(virtualServer(1, 30080), endpoint(1), func(r *ipvs.RealStats) { r.Active, r.Inactive, r.Weight = 2, 1, 0 })
	k.served[virtualServer(1, 30080)] = sync.Served{PortRef: web, Draining: map[netip.AddrPort]struct{}{endpoint(10): {}}}
	return k
}

func gatherer(k *kernel, o GathererOptions) *Gatherer {
	return NewGatherer(prometheus.NewRegistry(), NewMeter(k, k.serving, Options{}), o)
}

func TestANameDoesNotFallWhenOneOfItsNodePortsGoes(t *testing.T) {
	k := shop()
	g := gatherer(k, GathererOptions{Detail: Endpoints})
	gather(t, g)
	k.remove(virtualServer(1, 30080))
	for _, maxAge := range []time.Duration{0, time.Hour, time.Hour} {
		g.o.MaxAge = maxAge
		got := series(t, g)
		for _, line := range []string{
			`kube_ipvs_service_connections_total{namespace="default",port="http",protocol="TCP",service="web"} 7`,
			`kube_ipvs_endpoint_connections_total{endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 7`,
			`kube_ipvs_service_endpoints{namespace="default",port="http",protocol="TCP",service="web"} 1`,
		} {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("not there: %s\nin\n%s", line, got)
			}
		}
	}
}

func TestWithoutDetailTheKernelIsNotRead(t *testing.T) {
	k := shop()
	g := gatherer(k, GathererOptions{Detail: None})
	if got := series(t, g); got != "" || k.dumps != 0 {
		t.Errorf("%d dumps, series:\n%s", k.dumps, got)
	}
}

func TestBeyondTheLimitWholeServicePortsAreLeftOut(t *testing.T) {
	for _, c := range []struct {
		limit           int
		services        []string
		endpoints       []string
		without, lacked int
	}{
		{limit: 100, services: []string{"a", "b", "c"}, endpoints: []string{"a", "a", "a", "b", "c"}},
		{limit: 8, services: []string{"a", "b", "c"}, endpoints: []string{"a", "a", "a", "b", "c"}},
		{limit: 7, services: []string{"a", "b", "c"}, endpoints: []string{"a", "a", "a", "b"}, lacked: 1},
		{limit: 5, services: []string{"a", "b", "c"}, lacked: 5},
		{limit: 2, services: []string{"a", "b"}, without: 1, lacked: 5},
	} {
		k := newKernel()
		k.serve(virtualServer(1, 30080), web("a", 30080), endpoint(1), endpoint(2), endpoint(3))
		k.serve(virtualServer(1, 30081), web("b", 30081), endpoint(1))
		k.serve(virtualServer(1, 30082), web("c", 30082), endpoint(1))
		families := gather(t, gatherer(k, GathererOptions{Detail: Endpoints, Limit: c.limit}))
		for name, want := range map[string][]string{"kube_ipvs_service_endpoints": c.services, "kube_ipvs_endpoint_weight": c.endpoints} {
			if diff := cmp.Diff(want, labelValues(families, name, "service")); diff != "" {
				t.Errorf("limit %d, %s (-want +got):\n%s", c.limit, name, diff)
			}
		}
		want := fmt.Sprintf("kube_ipvs_traffic_left_out{kind=\"endpoints\"} %d\nkube_ipvs_traffic_left_out{kind=\"services\"} %d\n", c.lacked, c.without)
		if got := text(t, families); !strings.Contains(got, want) {
			t.Errorf("limit %d: not there: %s in\n%s", c.limit, want, got)
		}
	}
}

// labelValues are the values of a label in a family, in order.
func labelValues(families []*dto.MetricFamily, name, label string) []string {
	var values []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == label {
					values = append(values, l.GetValue())
				}
			}
		}
	}
	return values
}

func TestAnEndpointThatWasNotReadOnEachNodePortHasNoCounters(t *testing.T) {
	k := shop()
	k.realsErr[virtualServer(1, 30081)] = errors.New("broken")
	families := gather(t, gatherer(k, GathererOptions{Detail: Endpoints}))
	want := []string{"10.244.1.10:8080", "[fd02::1]:53"}
	if diff := cmp.Diff(want, labelValues(families, "kube_ipvs_endpoint_connections_total", "endpoint")); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if got := labelValues(families, "kube_ipvs_endpoint_weight", "endpoint"); len(got) != 3 {
		t.Errorf("weights of %v", got)
	}
}

func TestAScrapeIsNotWrittenToUntilItIsDone(t *testing.T) {
	k := shop()
	g := gatherer(k, GathererOptions{Detail: Endpoints})
	line := func(families []*dto.MetricFamily) (value string) {
		const name = `kube_ipvs_service_connections_total{namespace="default",port="http",protocol="TCP",service="web"} `
		_, rest, _ := strings.Cut(text(t, families), name)
		value, _, _ = strings.Cut(rest, "\n")
		return value
	}
	first, done, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	k.connect(virtualServer(1, 30080), endpoint(1), 10)
	if second := line(gather(t, g)); second != "17" || line(first) != "7" {
		t.Errorf("the second scrape has %s, the first one %s after it; want 17 and 7", second, line(first))
	}
	done()
	done()
	k.remove(virtualServer(1, 30080))
	k.remove(virtualServer(1, 30081))
	for range 3 {
		families := gather(t, g)
		if got := labelValues(families, "kube_ipvs_endpoint_bytes_total", "service"); line(families) != "" || !slices.Equal(got, []string{"dns", "dns"}) {
			t.Errorf("with one Service less: %v", got)
		}
	}
}

func TestTheHandlerServesTheRestAndTraffic(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, name := range []string{"aa_first", "kube_ipvs_problems", "zz_last"} {
		registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "One."}))
	}
	k := shop()
	g := NewGatherer(registry, NewMeter(k, k.serving, Options{}), GathererOptions{Detail: Services})
	w := httptest.NewRecorder()
	promhttp.HandlerForTransactional(g, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var names []string
	for line := range strings.Lines(w.Body.String()) {
		if name, is := strings.CutPrefix(line, "# TYPE "); is {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if w.Code != 200 || !slices.IsSorted(names) || len(names) != 3+3+7 {
		t.Errorf("status %d, families %q", w.Code, names)
	}
}

func TestAScrapeOutlivesAKernelThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: "One."}))
		k := shop()
		var log []string
		g := NewGatherer(registry, NewMeter(k, k.serving, Options{}), GathererOptions{Detail: Services, Log: logTo(&log)})
		scrape := func() (took time.Duration, families int, services int) {
			began := time.Now()
			all := gather(t, g)
			return time.Since(began), len(all), len(labelValues(all, "kube_ipvs_service_endpoints", "service"))
		}
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		k.answer(hang)
		if took, families, services := scrape(); took != patience || families != 3 || services != 0 {
			t.Errorf("nothing was read ever: took %v, %d families, %d Services", took, families, services)
		}
		time.Sleep(time.Minute)
		k.answer(nil)
		if took, _, services := scrape(); took != 0 || services != 2 {
			t.Errorf("the kernel answers: took %v, %d Services", took, services)
		}
		k.answer(hang)
		time.Sleep(time.Second)
		if took, _, services := scrape(); took != patience || services != 2 {
			t.Errorf("there is a sample: took %v, %d Services", took, services)
		}
		time.Sleep(outdated)
		if took, families, services := scrape(); took != patience || families != 3 || services != 0 {
			t.Errorf("the sample is old: took %v, %d families, %d Services", took, families, services)
		}
		want := []string{"Metrics of traffic are not up to date", "Metrics of traffic are up to date again", "Metrics of traffic are not up to date"}
		if diff := cmp.Diff(want, log); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		time.Sleep(roundLimit)
	})
}

// logTo appends the messages to log.
func logTo(log *[]string) logr.Logger {
	return funcr.NewJSON(func(line string) {
		_, rest, _ := strings.Cut(line, `"msg":"`)
		message, _, _ := strings.Cut(rest, `"`)
		*log = append(*log, message)
	}, funcr.Options{})
}

func TestErrorsOfTheRestArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	k := shop()
	rest := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, broken })
	families, _, err := NewGatherer(rest, NewMeter(k, k.serving, Options{}), GathererOptions{Detail: Services}).Gather()
	if !errors.Is(err, broken) || len(families) != 3+7 {
		t.Errorf("error %v, %d families", err, len(families))
	}
}

func TestADetailIsOneOfThree(t *testing.T) {
	for _, d := range []Detail{None, Services, Endpoints} {
		if got, err := ParseDetail(string(d)); err != nil || got != d {
			t.Errorf("%s: %q, %v", d, got, err)
		}
	}
	if _, err := ParseDetail("all"); err == nil {
		t.Error("all was taken for a detail")
	}
}
