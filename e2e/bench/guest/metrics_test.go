package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
)

// Metrics cost some subjects much: they are read when there is something in them.
func TestMetricsAreReadOnceTheSubjectIsReady(t *testing.T) {
	const ready, metrics = "http://10.0.0.1:1/readyz", "http://10.0.0.1:2/metrics"
	for _, c := range []struct {
		name    string
		subject job.Subject
		refused int // answers
		want    []string
	}{
		{"says when", job.Subject{Ready: "10.0.0.1:1/readyz", Metrics: "10.0.0.1:2"}, 2, []string{ready, ready, ready, metrics}},
		{"has no word for it", job.Subject{Metrics: "10.0.0.1:2"}, 2, []string{metrics, metrics, metrics}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var asked []string
			at, err := passOf(t.Context(), c.subject, func(_ context.Context, url string) (string, error) {
				if asked = append(asked, url); len(asked) <= c.refused {
					return "", errors.New("not yet")
				}
				return synced + " 7\n", nil
			})
			if err != nil || at.Unix() != 7 || !slices.Equal(asked, c.want) {
				t.Errorf("a subject that %s: %v, %v, asked %q, want %q", c.name, at, err, asked, c.want)
			}
		})
	}
}

func TestTheCutOffEndsTheWaitForAPassWithTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		refusal := errors.New("not ready")
		_, err := passOf(ctx, job.Subject{Ready: "10.0.0.1:1/readyz"}, func(context.Context, string) (string, error) { return "", refusal })
		if !errors.Is(err, refusal) {
			t.Errorf("the error is %v", err)
		}
	})
}

// A port that answers is not yet a subject that is ready.
func TestAnAnswerThatIsNot200IsAnError(t *testing.T) {
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("text"))
	}))
	defer server.Close()
	if _, err := get(t.Context(), server.Client(), server.URL); err == nil {
		t.Error("503 is an answer")
	}
	status = http.StatusOK
	if text, err := get(t.Context(), server.Client(), server.URL); err != nil || text != "text" {
		t.Errorf("%q, %v", text, err)
	}
}
