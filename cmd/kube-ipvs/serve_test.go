package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return r
}

func TestPortInUseIsAnErrorAtTheStartThatNamesTheFlag(t *testing.T) {
	first, err := listen(t.Context(), "--healthz-bind-address", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	_, err = listen(t.Context(), "--metrics-bind-address", first.Addr().String(), nil)
	if err == nil || !strings.Contains(err.Error(), "--metrics-bind-address") {
		t.Errorf("error %v, want one that names the flag", err)
	}
	none, err := listen(t.Context(), "--metrics-bind-address", "", nil)
	if none != nil || err != nil {
		t.Errorf("an empty address gives %v, %v, want nothing", none, err)
	}
	if err := none.serve(t.Context()); err != nil {
		t.Errorf("serving nothing: %v", err)
	}
	none.close()
}

func TestEndpointAnswersUntilItsTimeIsOver(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	l, err := listen(ctx, "--healthz-bind-address", "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.serve(ctx) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ofNoPath := request.Clone(t.Context())
	ofNoPath.Method, ofNoPath.URL.Path = http.MethodOptions, "*"
	for _, request := range []*http.Request{request, ofNoPath} {
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // nobody reads it
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: the handler was not asked: %s", request.Method, request.URL, answer.Status)
		}
	}
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it still serves")
	}
}
