package main

import (
	"net/http"
	"strings"
	"testing"
)

// A browser on the node reads for a page from elsewhere what that page has made its own name lead to.
func TestLoopbackAnswersToItsOwnNamesOnly(t *testing.T) {
	l, err := listen(t.Context(), "--metrics-bind-address", "127.0.0.1:0", namedByAddress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("answered"))
	})))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.serve(t.Context()) }()
	defer l.close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	for host, want := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "[::1]:" + port: 200, "127.0.0.1": 200,
		"rebound.example.org:" + port: 421, "rebound.example.org": 421, "localhost.example.org": 421,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("called %q: %s, want %d", host, response.Status, want)
		}
	}
}
