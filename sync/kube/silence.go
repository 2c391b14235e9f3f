package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// answerPatience is how long an answer may take to begin. An API server ends what is no watch after a minute (--request-timeout).
	answerPatience = 75 * time.Second
	// watchAnswerPatience is the same for a watch, which an API server begins at once, or after a quarter of a minute in a queue (API priority and
	// fairness).
	watchAnswerPatience = 30 * time.Second
	// watchSilence is how long a watch may say nothing. An API server sends a bookmark each minute, if nothing else (KEP-956); from one that does not,
	// the watch goes on in another request.
	watchSilence = 3 * time.Minute
)

// neverSilent ends what an API server, or a load balancer before it, took and forgot, on a connection that lives: client-go waits for it as
// long as the watch was to take, up to ten minutes (v0.37), and nobody hears of what changes meanwhile.
type neverSilent struct{ http.RoundTripper }

// RoundTrip is that of http.RoundTripper.
func (t neverSilent) RoundTrip(r *http.Request) (*http.Response, error) {
	isWatch := r.URL.Query().Get("watch") != ""
	patience := answerPatience
	if isWatch {
		patience = watchAnswerPatience
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	silent := fmt.Errorf("no answer to %s %s within %v", r.Method, r.URL.Path, patience)
	timer := time.AfterFunc(patience, func() { cancel(silent) })
	response, err := t.RoundTripper.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if context.Cause(ctx) == silent { //nolint:errorlint // the very one of above
			err = silent
		}
		cancel(nil)
		return nil, err
	}
	body := &endedBody{ReadCloser: response.Body, end: func() { cancel(nil) }}
	if isWatch {
		body.silence = watchSilence
	}
	response.Body = body
	return response, nil
}

// WrappedRoundTripper lets client-go find the transport beneath.
func (t neverSilent) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }

// endedBody is an answer that ends, as if the API server had ended it, once nothing has come for as long as silence says; 0 is no bound.
type endedBody struct {
	io.ReadCloser
	silence time.Duration
	end     func()
}

// Read is that of io.Reader.
func (b *endedBody) Read(p []byte) (int, error) {
	if b.silence == 0 {
		return b.ReadCloser.Read(p)
	}
	timer := time.AfterFunc(b.silence, b.end)
	n, err := b.ReadCloser.Read(p)
	if !timer.Stop() && err != nil {
		err = io.EOF
	}
	return n, err
}

// Close is that of io.Closer.
func (b *endedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
