package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/traffic"
)

// httpEndpoints are the handlers of an agent's two HTTP endpoints. Its kernel has traffic of one Service port.
func httpEndpoints(t *testing.T, args ...string) (health, metrics http.Handler) {
	t.Helper()
	i, kernel, _ := shop(t)
	i.meter = countingShop(kernel)
	o := &options{}
	cmd := &cobra.Command{}
	addGroups(cmd, runGroups(o)...)
	if err := cmd.ParseFlags(append([]string{"--healthz-bind-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0"}, args...)); err != nil {
		t.Fatal(err)
	}
	around := surroundings{logs: &logging{logger: logr.Discard()}, flags: cmd.Flags()}
	endpoints, err := o.endpoints(t.Context(), around, i, sync.New(logr.Discard(), sync.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		e.close()
	}
	return endpoints[0].handler, endpoints[1].handler
}

// countingShop counts the traffic of shop/web.
func countingShop(kernel *ipvsfake.Kernel) *traffic.Meter {
	web := sync.PortRef{Service: sync.ServiceID{Namespace: "shop", Name: "web"}, Name: "http", Port: 80, NodePort: 30080, Protocol: frontend.TCP}
	return traffic.NewMeter(kernel.Stats(), func() map[frontend.Key]sync.Served {
		return map[frontend.Key]sync.Served{served: {PortRef: web}}
	}, traffic.Options{})
}

func TestEachEndpointAnswersItsOwnPathsAndRefusesAllElse(t *testing.T) {
	for _, c := range []struct {
		flags  string
		method string
		path   string
		health int // the status on --healthz-bind-address
		local  int // and on --metrics-bind-address
	}{
		{"", "GET", "/healthz", 503, 404}, // nothing is synced yet
		{"", "GET", "/readyz", 503, 404},
		{"", "GET", "/livez", 200, 404},
		{"", "GET", "/metrics", 404, 200},
		{"", "GET", "/statusz", 404, 200},
		{"", "GET", "/statusz/shop/web", 404, 200},
		{"", "GET", "/statusz/shop/nobody", 404, 404},
		{"", "GET", "/flagz", 404, 200},
		{"", "GET", "/debug/pprof/", 404, 404},
		{"", "GET", "/debug/pprof/cmdline", 404, 404},
		{"--profiling", "GET", "/debug/pprof/", 404, 200},
		{"", "GET", "/", 404, 404},
		{"", "GET", levelPath, 404, 404}, // of the socket alone: it changes something
		{"", "PUT", levelPath, 404, 404},
		{"", "GET", "/ports", 404, 404},
		{"", "POST", "/healthz", 405, 404},
		{"", "POST", "/metrics", 404, 405},
		{"", "PUT", "/flagz", 404, 405},
		{"", "DELETE", "/statusz/shop/web", 404, 405},
	} {
		health, local := httpEndpoints(t, strings.Fields(c.flags)...)
		for name, on := range map[string]struct {
			http.Handler
			want int
		}{"the health endpoint": {health, c.health}, "the metrics endpoint": {local, c.local}} {
			r := httptest.NewRecorder()
			on.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), c.method, c.path, http.NoBody))
			if r.Code != on.want {
				t.Errorf("%s %s on %s with %q: %d, want %d", c.method, c.path, name, c.flags, r.Code, on.want)
			}
		}
	}
}

// typed are the names of the metrics of an exposition, without those that every Go program exports.
func typed(exposition string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(exposition, -1) {
		if !strings.HasPrefix(m[1], "go_") && !strings.HasPrefix(m[1], "process_") {
			names = append(names, m[1])
		}
	}
	return names
}

func TestAScrapeHasTheMetricsThatAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	for detail, without := range map[string]string{
		"endpoints": `^$`,
		"services":  `^kube_ipvs_endpoint_`,
		"none":      `^kube_ipvs_(endpoint_|service_|traffic_left_out)`,
	} {
		_, local := httpEndpoints(t, "--traffic-metrics="+detail)
		want := slices.DeleteFunc(slices.Clone(documented), regexp.MustCompile(without).MatchString)
		got := typed(get(t, local, "/metrics").Body.String())
		slices.Sort(got)
		if !slices.Equal(want, got) || len(got) < 25 {
			t.Errorf("--traffic-metrics=%s: scraped are\n%q, documented\n%q", detail, got, want)
		}
	}
	_, local := httpEndpoints(t, "--traffic-metrics=endpoints", "--traffic-metrics-limit=1")
	if body := get(t, local, "/metrics").Body.String(); !strings.Contains(body, `kube_ipvs_traffic_left_out{kind="endpoints"} 1`) {
		t.Errorf("--traffic-metrics-limit=1 leaves out no endpoint:\n%s", body)
	}
}

// Whoever may write annotations makes no series and no label: those name what there is of a Service beside them.
func TestNoMetricHasTextOfAnAnnotation(t *testing.T) {
	named := []string{"namespace", "service", "port", "protocol", "endpoint"}
	closed := map[string][]string{
		"reason": {}, "verb": {}, "result": {"ok", "failed", "done", "refused"}, "direction": {"in", "out"},
		"kind": {"services", "endpoints", "virtuals", "reals", "use"}, "version": {version},
	}
	for _, r := range sync.Reasons() {
		closed["reason"] = append(closed["reason"], string(r))
	}
	for _, v := range ipvs.Verbs() {
		closed["verb"] = append(closed["verb"], v.String())
	}
	_, local := httpEndpoints(t, "--traffic-metrics=endpoints")
	labels := 0
	for line := range strings.Lines(get(t, local, "/metrics").Body.String()) {
		if !strings.HasPrefix(line, "kube_ipvs_") {
			continue
		}
		for _, m := range regexp.MustCompile(`[{,]([a-z_]+)="([^"]*)"`).FindAllStringSubmatch(line, -1) {
			labels++
			if !slices.Contains(named, m[1]) && m[1] != "le" && !slices.Contains(closed[m[1]], m[2]) {
				t.Errorf("label %s=%q of %s", m[1], m[2], line)
			}
		}
	}
	if labels < 20 {
		t.Errorf("%d labels are looked at", labels)
	}
}
