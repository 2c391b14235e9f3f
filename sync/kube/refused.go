package kube

import (
	"errors"
	"net/http"
	"syscall"

	"k8s.io/client-go/rest"
)

func wrapTransport(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return refusedIsAnError{neverSilent{next}} })
}

// refusedIsAnError hides from client-go that a connection was refused. Its reflector waits for such a server up to a
// minute at a time, tells nobody but its own log at a high level, and while it waits for the first list not even the
// end of the context wakes it (client-go v0.37, Reflector.watchList). Any other error it reports, and waits in order.
type refusedIsAnError struct{ http.RoundTripper }

// RoundTrip is that of http.RoundTripper.
func (t refusedIsAnError) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(r)
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = errors.New(err.Error())
	}
	if err == nil && response.StatusCode == http.StatusGatewayTimeout {
		// It does not have the version that was asked for (or a gateway no server). client-go's own client would ask for the
		// same ten times, three seconds and a pause each, where its reflector knows how to go on.
		response.Header.Del("Retry-After")
	}
	return response, err
}

// WrappedRoundTripper lets client-go find the transport beneath.
func (t refusedIsAnError) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }
