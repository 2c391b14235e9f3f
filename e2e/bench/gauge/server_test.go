package gauge_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// server speaks as much of the API as an informer of services needs: there is one, and events change its annotation.
type server struct {
	*httptest.Server
	events    chan string      // of watches
	watched   chan http.Header // of the answer, when a watch begins
	ended     chan struct{}    // when it ends
	encodings chan string
	version   int
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		events: make(chan string), watched: make(chan http.Header, 10), ended: make(chan struct{}, 10), encodings: make(chan string, 10),
	}
	s.Server = newHTTPServer(t, s.serve)
	return s
}

func newHTTPServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

type tlsServer struct{ config rest.Config }

func newTLSServer(t *testing.T, h http.HandlerFunc) tlsServer {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return tlsServer{rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}}
}

func (s *server) config() *rest.Config { return &rest.Config{Host: s.URL} }

// change lets the watch have an event.
func (s *server) change(marker string) { s.events <- marker }

func service(marker string, version int) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "bench", ResourceVersion: fmt.Sprint(version), Annotations: map[string]string{"marker": marker},
	}}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	encoding := runtime.ContentTypeJSON
	if strings.Contains(r.Header.Get("Accept"), protobuf) {
		encoding = protobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), encoding)
	objects := scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	if r.URL.Query().Get("sendInitialEvents") != "" {
		http.Error(w, "this one lists", http.StatusUnprocessableEntity)
		return
	}
	if r.URL.Query().Get("watch") == "" {
		w.Header().Set("Content-Type", encoding)
		_ = objects.Encode(&corev1.ServiceList{
			ListMeta: metav1.ListMeta{ResourceVersion: "1"},
			Items:    []corev1.Service{*service("marker-of-the-list", 1)},
		}, w)
		return
	}
	w.Header().Set("Content-Type", encoding+";stream=watch")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	s.encodings <- encoding
	s.watched <- w.Header()
	defer func() { s.ended <- struct{}{} }()
	events := streaming.NewEncoder(info.StreamSerializer.NewFrameWriter(w),
		scheme.Codecs.EncoderForVersion(info.StreamSerializer.Serializer, corev1.SchemeGroupVersion))
	s.watch(r, w.(http.Flusher), events, objects)
}

func (s *server) watch(r *http.Request, w http.Flusher, events streaming.Encoder, objects runtime.Encoder) {
	for {
		select {
		case <-r.Context().Done():
			return
		case marker, ok := <-s.events:
			if !ok {
				return
			}
			s.version++
			var object bytes.Buffer
			if err := objects.Encode(service(marker, s.version+1), &object); err != nil {
				panic(err)
			}
			if err := events.Encode(&metav1.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Raw: object.Bytes()}}); err != nil {
				return
			}
			w.Flush()
		}
	}
}
