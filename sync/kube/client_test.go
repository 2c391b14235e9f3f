package kube

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
)

// fakeClient asks fakes, which do not stream lists.
func fakeClient(objects *fake.Clientset, labels *metadatafake.FakeMetadataClient) Client {
	return Client{
		Services:       unstreamed(objects.CoreV1().Services("")),
		EndpointSlices: unstreamed(objects.DiscoveryV1().EndpointSlices("")),
		Nodes:          unstreamed(objects.CoreV1().Nodes()),
		Events:         objects.CoreV1().Events(""),
		NodeLabels:     unstreamed(labels.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))),
	}
}

type withoutStreams[L runtime.Object] struct{ Lister[L] }

func unstreamed[L runtime.Object](l Lister[L]) Lister[L] { return withoutStreams[L]{l} }

// IsWatchListSemanticsUnSupported is what client-go asks for.
func (withoutStreams[L]) IsWatchListSemanticsUnSupported() bool { return true }

func TestClientWritesEventsIntoTheirNamespace(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"shop"},"count":7}`))
	}))
	defer server.Close()
	client, err := clientFor(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}}
	for _, write := range []func() (*corev1.Event, error){
		func() (*corev1.Event, error) {
			return client.Events.CreateWithEventNamespaceWithContext(t.Context(), e)
		},
		func() (*corev1.Event, error) {
			return client.Events.UpdateWithEventNamespaceWithContext(t.Context(), e)
		},
		func() (*corev1.Event, error) {
			return client.Events.PatchWithEventNamespaceWithContext(t.Context(), e, []byte("{}"))
		},
	} {
		if answer, err := write(); err != nil || answer.Count != 7 {
			t.Errorf("answer %v, error %v", answer, err)
		}
	}
	want := []string{
		"POST /api/v1/namespaces/shop/events application/vnd.kubernetes.protobuf",
		"PUT /api/v1/namespaces/shop/events/e application/vnd.kubernetes.protobuf",
		"PATCH /api/v1/namespaces/shop/events/e application/strategic-merge-patch+json",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked:\n%s", strings.Join(asked, "\n"))
	}
}

func TestNewClientNamesTheKubeconfigThatItCannotUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if _, _, err := NewClient(path, "test"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: %v", err)
	}
	write(t, path, "apiVersion: v1\nkind: Config\ncurrent-context: c\n"+
		"contexts: [{name: c, context: {cluster: k, user: u}}]\nusers: [{name: u}]\n"+
		"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\n")
	_, host, err := NewClient(path, "test")
	if err != nil || host != "https://192.0.2.1:6443" {
		t.Errorf("host %q, error %v", host, err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, _, err := NewClient("", "test"); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("outside a cluster: %v", err)
	}
}
