package traffic

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kube-ipvs/kube-ipvs/frontend"
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
