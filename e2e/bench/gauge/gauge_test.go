package gauge_test

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/gauge"
)

const (
	patience = 20 * time.Second
	protobuf = runtime.ContentTypeProtobuf
	selector = "size<100"
)

// newGauge starts one before the server, and returns the configuration of its kubeconfig.
func newGauge(t *testing.T, config *rest.Config, selector string) (*gauge.Gauge, *rest.Config) {
	t.Helper()
	g, err := gauge.New(config, selector)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := within(t, served); err != nil {
			t.Error(err)
		}
	})
	through, err := clientcmd.RESTConfigFromKubeConfig(gauge.Kubeconfig(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	return g, through
}

// within returns what comes out of a channel in good time.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing after %v", patience)
		panic("unreachable")
	}
}

func get(ctx context.Context, t *testing.T, config *rest.Config, path string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DisableCompression: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestAMarkerIsSeenBeforeTheProgramHandlesIt(t *testing.T) {
	for _, encoding := range []string{runtime.ContentTypeJSON, protobuf} {
		t.Run(encoding, func(t *testing.T) {
			server := newServer(t)
			g, config := newGauge(t, server.config(), "")
			config.ContentType = encoding
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			handled := watchServices(t, client)
			if got := within(t, server.watched); got.Get("Content-Encoding") != "" {
				t.Errorf("the watch is compressed: %v", got)
			}
			for _, marker := range []string{"10.1.2.3", "10.1.2.4"} {
				seen := g.Await(marker)
				before := time.Now()
				server.change(marker)
				at := within(t, seen)
				got := within(t, handled)
				if got.marker != marker || at.Before(before) || at.After(got.at) {
					t.Errorf("%s was made at %v, seen at %v, and %s was handled at %v", marker, before, at, got.marker, got.at)
				}
			}
			if got := within(t, server.encodings); got != encoding {
				t.Errorf("the program spoke %s, want %s", got, encoding)
			}
			if got := g.Traffic().Requests["WATCH services"]; got == 0 {
				t.Errorf("requests %v, want a watch of services", g.Traffic().Requests)
			}
		})
	}
}

type handledMarker struct {
	marker string
	at     time.Time
}

// watchServices runs an informer, which tells the annotations that come with changes.
func watchServices(t *testing.T, client kubernetes.Interface) <-chan handledMarker {
	t.Helper()
	handled := make(chan handledMarker, 10)
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services().Informer()
	_, err := services.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, to any) {
			handled <- handledMarker{to.(*corev1.Service).Annotations["marker"], time.Now()}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	t.Cleanup(factory.Shutdown) // the test's context has ended by then
	if !cache.WaitForCacheSync(t.Context().Done(), services.HasSynced) {
		t.Fatal("the informer has no services")
	}
	return handled
}

func TestTheSelectorIsAddedToListsAndWatchesOfServicesAndSlices(t *testing.T) {
	asked := make(chan *url.URL, 1)
	server := newHTTPServer(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL })
	g, config := newGauge(t, &rest.Config{Host: server.URL}, selector)
	tests := []struct{ name, url, want, counted string }{
		{"a list", "/api/v1/services", selector, "LIST services"},
		{"a list of a namespace", "/api/v1/namespaces/bench/services?limit=500", selector, "LIST services"},
		{"a watch", "/api/v1/services?watch=true", selector, "WATCH services"},
		{"a streamed list", "/api/v1/services?watch=1&sendInitialEvents=true", selector, "WATCH services"},
		{
			"beside the program's own", "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21headless%2Ca+in+%28b%2Cc%29",
			"!headless,a in (b,c)," + selector, "LIST endpointslices",
		},
		{"slices of a namespace", "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices?watch=true", selector, "WATCH endpointslices"},
		{"not a single Service", "/api/v1/namespaces/bench/services/web", "", "GET services"},
		{"not a Service's status", "/api/v1/namespaces/bench/services/web/status", "", "GET services/status"},
		{"not nodes", "/api/v1/nodes?labelSelector=a", "a", "LIST nodes"},
		{"not namespaces", "/api/v1/namespaces", "", "LIST namespaces"},
		{"not services of another group", "/apis/serving.example/v1/services", "", "LIST services"},
		{"nor what is no resource", "/version", "", "GET /version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := g.Traffic().Requests[tt.counted]
			get(t.Context(), t, config, tt.url)
			got := within(t, asked)
			in, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			want := in.Query()
			if tt.want != "" {
				want.Set("labelSelector", tt.want)
			}
			if got.Path != in.Path {
				t.Errorf("path %s, want %s", got.Path, in.Path)
			}
			if d := cmp.Diff(want, got.Query()); d != "" {
				t.Errorf("query (-want +got):\n%s", d)
			}
			if after := g.Traffic().Requests; after[tt.counted] != before+1 {
				t.Errorf("requests %v, want one more of %q", after, tt.counted)
			}
		})
	}
}

func TestASelectorThatIsNoneIsAnError(t *testing.T) {
	if _, err := gauge.New(&rest.Config{Host: "http://127.0.0.1:1"}, "a in b"); err == nil {
		t.Error("no error")
	}
}

func TestTheProgramIsAnAdministratorWithoutKnowingIt(t *testing.T) {
	asked := make(chan string, 1)
	server := newTLSServer(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Authorization") })
	config := server.config
	config.BearerToken = "admin"
	_, through := newGauge(t, &config, "")
	get(t.Context(), t, through, "/version", "Authorization", "Bearer nobody")
	if got := within(t, asked); got != "Bearer admin" {
		t.Errorf("the API server was asked with %q", got)
	}
}

func TestAWatchThatTheProgramCancelsEndsAtTheServer(t *testing.T) {
	server := newServer(t)
	_, config := newGauge(t, server.config(), "")
	ctx, cancel := context.WithCancel(t.Context())
	get(ctx, t, config, "/api/v1/services?watch=true")
	within(t, server.watched)
	cancel()
	within(t, server.ended)
}

func TestAWatchThatTheServerEndsEndsAtTheProgram(t *testing.T) {
	server := newServer(t)
	_, config := newGauge(t, server.config(), "")
	resp := get(t.Context(), t, config, "/api/v1/services?watch=true")
	close(server.events)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsWatchesOnBothSides(t *testing.T) {
	server := newServer(t)
	g, config := newGauge(t, server.config(), "")
	resp := get(t.Context(), t, config, "/api/v1/services?watch=true")
	within(t, server.watched)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the program's watch ended as if the API server had ended it")
	}
	within(t, server.ended)
}

func TestListsAreCompressedIfTheProgramAsksForItAndWatchesNever(t *testing.T) {
	server := newHTTPServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Asked", r.Header.Get("Accept-Encoding"))
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			_, _ = io.WriteString(w, "plain")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "compressed")
		_ = z.Close()
	})
	_, config := newGauge(t, &rest.Config{Host: server.URL}, "")
	tests := []struct{ name, path, asks, asked, want string }{
		{"a list that asks", "/api/v1/services", "gzip", "gzip", "gzip"},
		{"a list that does not", "/api/v1/services", "", "", ""},
		{"a watch that asks", "/api/v1/services?watch=true", "gzip", "identity", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.asks != "" {
				header = []string{"Accept-Encoding", tt.asks}
			}
			got := get(t.Context(), t, config, tt.path, header...).Header
			if asked, encoded := got.Get("Asked"), got.Get("Content-Encoding"); asked != tt.asked || encoded != tt.want {
				t.Errorf("asked for %q and encoded with %q, want %q and %q", asked, encoded, tt.asked, tt.want)
			}
		})
	}
}

func TestAListIsNotWhatAMarkerIsWaitedForIn(t *testing.T) {
	server := newServer(t)
	g, config := newGauge(t, server.config(), "")
	seen := g.Await("marker-of-the-list")
	if _, err := io.ReadAll(get(t.Context(), t, config, "/api/v1/services").Body); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
		t.Error("seen in a list")
	default:
	}
	if got := g.Traffic().Bytes; got < uint64(len("marker-of-the-list")) {
		t.Errorf("%d bytes passed", got)
	}
}

func TestAnAPIServerThatIsNotThereIsABadGateway(t *testing.T) {
	_, config := newGauge(t, &rest.Config{Host: "http://127.0.0.1:1"}, "")
	if got := get(t.Context(), t, config, "/version").StatusCode; got != http.StatusBadGateway {
		t.Errorf("status %d", got)
	}
}
