package traffic

import (
	"bytes"
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
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// text is what the families look like to who scrapes them.
func text(tb testing.TB, families []*dto.MetricFamily) string {
	tb.Helper()
	var b bytes.Buffer
	e := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			tb.Fatal(err)
		}
	}
	return b.String()
}

// series are the lines of text that are not about the families, and not about the reading.
func series(tb testing.TB, g *Gatherer) string {
	tb.Helper()
	var lines []string
	for line := range strings.Lines(text(tb, gather(tb, g))) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "kube_ipvs_traffic_read") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

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

func TestAServicePortHasOneNameForAllItsNodePorts(t *testing.T) {
	const want = `kube_ipvs_service_active_connections{namespace="default",port="http",protocol="TCP",service="web"} 2
kube_ipvs_service_active_connections{namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_bytes_total{direction="in",namespace="default",port="http",protocol="TCP",service="web"} 7000
kube_ipvs_service_bytes_total{direction="out",namespace="default",port="http",protocol="TCP",service="web"} 140000
kube_ipvs_service_bytes_total{direction="in",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_bytes_total{direction="out",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_connections_total{namespace="default",port="http",protocol="TCP",service="web"} 7
kube_ipvs_service_connections_total{namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_draining_endpoints{namespace="default",port="http",protocol="TCP",service="web"} 1
kube_ipvs_service_draining_endpoints{namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_endpoints{namespace="default",port="http",protocol="TCP",service="web"} 2
kube_ipvs_service_endpoints{namespace="kube-system",port="53",protocol="UDP",service="dns"} 1
kube_ipvs_service_inactive_connections{namespace="default",port="http",protocol="TCP",service="web"} 1
kube_ipvs_service_inactive_connections{namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_packets_total{direction="in",namespace="default",port="http",protocol="TCP",service="web"} 70
kube_ipvs_service_packets_total{direction="out",namespace="default",port="http",protocol="TCP",service="web"} 140
kube_ipvs_service_packets_total{direction="in",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_service_packets_total{direction="out",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_traffic_left_out{kind="endpoints"} 0
kube_ipvs_traffic_left_out{kind="services"} 0
`
	if diff := cmp.Diff(want, series(t, gatherer(shop(), GathererOptions{Detail: Services}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEndpointsHaveSeriesOfTheirOwn(t *testing.T) {
	const want = `kube_ipvs_endpoint_active_connections{endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 2
kube_ipvs_endpoint_active_connections{endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_active_connections{endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_bytes_total{direction="in",endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 7000
kube_ipvs_endpoint_bytes_total{direction="out",endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 140000
kube_ipvs_endpoint_bytes_total{direction="in",endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_bytes_total{direction="out",endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_bytes_total{direction="in",endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_bytes_total{direction="out",endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_connections_total{endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 7
kube_ipvs_endpoint_connections_total{endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_connections_total{endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_draining{endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_draining{endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 1
kube_ipvs_endpoint_draining{endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_inactive_connections{endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 1
kube_ipvs_endpoint_inactive_connections{endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_inactive_connections{endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_packets_total{direction="in",endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 70
kube_ipvs_endpoint_packets_total{direction="out",endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 140
kube_ipvs_endpoint_packets_total{direction="in",endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_packets_total{direction="out",endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 0
kube_ipvs_endpoint_packets_total{direction="in",endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_packets_total{direction="out",endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 0
kube_ipvs_endpoint_weight{endpoint="10.244.1.1:8080",namespace="default",port="http",protocol="TCP",service="web"} 1
kube_ipvs_endpoint_weight{endpoint="10.244.1.10:8080",namespace="default",port="http",protocol="TCP",service="web"} 1
kube_ipvs_endpoint_weight{endpoint="[fd02::1]:53",namespace="kube-system",port="53",protocol="UDP",service="dns"} 1
`
	got := series(t, gatherer(shop(), GathererOptions{Detail: Endpoints}))
	i := strings.Index(got, "kube_ipvs_service_")
	if diff := cmp.Diff(want, got[:max(i, 0)]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestANameDoesNotFallWhenOneOfItsNodePortsGoes(t *testing.T) {
	k := shop()
	g := gatherer(k, GathererOptions{Detail: Endpoints})
	gather(t, g)
	k.remove(virtualServer(1, 30080))
	for range 2 {
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

func TestAnEndpointThatWasNotReadHasNoCounters(t *testing.T) {
	k := shop()
	k.realsErr[virtualServer(1, 30080)] = errors.New("broken")
	families := gather(t, gatherer(k, GathererOptions{Detail: Endpoints}))
	if got := labelValues(families, "kube_ipvs_endpoint_connections_total", "endpoint"); slices.Contains(got, "10.244.1.10:8080") {
		t.Errorf("counters of %v", got)
	}
	if got := labelValues(families, "kube_ipvs_endpoint_weight", "endpoint"); len(got) != 3 {
		t.Errorf("weights of %v", got)
	}
}

func TestDescriptionsAreThoseOfWhatIsGathered(t *testing.T) {
	var got []Description
	for _, f := range gather(t, gatherer(shop(), GathererOptions{Detail: Endpoints})) {
		d := Description{Name: f.GetName(), Type: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}
		for _, l := range f.Metric[0].Label {
			d.Labels = append(d.Labels, l.GetName())
		}
		for _, m := range f.Metric {
			if len(m.Label) != len(d.Labels) || !slices.IsSortedFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) }) {
				t.Errorf("%s has a metric with labels %v", d.Name, m.Label)
			}
		}
		got = append(got, d)
	}
	want := Descriptions()
	slices.SortFunc(want, func(a, b Description) int { return strings.Compare(a.Name, b.Name) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-described +gathered):\n%s", diff)
	}
}

func TestPromlintHasNothingToSay(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(gather(t, gatherer(shop(), GathererOptions{Detail: Endpoints}))).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("error %v, problems %v", err, problems)
	}
}

func TestNoNameBreaksTheExposition(t *testing.T) {
	k := newKernel()
	hostile := []string{"quote\"} 1\nup 1\n#", "new\nline", "back\\slash", "bad\xff\xfeutf8", "bad\xffutf8", "{},=", ""}
	for i, name := range hostile {
		port := uint16(30080 + i)
		k.serve(virtualServer(1, port), sync.PortRef{Service: sync.ServiceID{Namespace: name, Name: name + "x"}, Name: name, Port: 80, NodePort: port, Protocol: frontend.TCP}, endpoint(1))
	}
	families := gather(t, gatherer(k, GathererOptions{Detail: Endpoints}))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(text(t, families)))
	if err != nil {
		t.Fatal(err)
	}
	if len(parsed) != len(Descriptions()) {
		t.Errorf("%d families, want %d", len(parsed), len(Descriptions()))
	}
	// Two of the names are one once they are fit to print.
	if got := len(parsed["kube_ipvs_service_endpoints"].Metric); got != len(hostile)-1 {
		t.Errorf("%d Service ports, want %d", got, len(hostile)-1)
	}
	for _, m := range parsed["kube_ipvs_endpoint_weight"].Metric {
		if len(m.Label) != 5 {
			t.Errorf("labels %v", m.Label)
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
