package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A browser on the node reads for a page from elsewhere what that page has made its own name lead to.
func TestLoopbackAnswersToItsOwnNamesOnly(t *testing.T) {
	_, metrics := httpEndpoints(t) // as they are wrapped for their listener
	l, err := listen(t.Context(), "--metrics-bind-address", "127.0.0.1:0", metrics)
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
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/flagz", http.NoBody)
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

// Where /healthz is bound to loopback, a page that has made its own name lead there is answered as everybody is: with no more than
// two times of day and a reason.
func TestHealthzOnLoopbackSaysNoMoreToAPageThanToAnybody(t *testing.T) {
	health, _ := httpEndpoints(t) // as they are wrapped for their listener
	dial := besieged(t, health, func(*serveLimits) {})
	for path, want := range map[string]int{"/healthz": 503, "/readyz": 503, "/livez": 200} {
		status, body := says(t, dial(), "GET "+path+" HTTP/1.1\r\nHost: rebound.example.org\r\nConnection: close\r\n\r\n")
		var said map[string]any
		if err := json.Unmarshal([]byte(body), &said); err != nil || status != want {
			t.Errorf("%s: status %d, want %d, %v", path, status, want, err)
		}
		for field := range said {
			if !slices.Contains([]string{"lastUpdated", "currentTime", "nodeEligible", "reason"}, field) {
				t.Errorf("%s tells %s: %s", path, field, body)
			}
		}
		if status == 503 && said["reason"] == nil {
			t.Errorf("%s gives no reason: %s", path, body)
		}
	}
}
