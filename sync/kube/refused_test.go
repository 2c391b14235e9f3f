package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/rest"
)

// refusing is the address of a port that nobody listens on.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestAPIServerThatRefusesIsNamedAndDoesNotDelayTheEnd(t *testing.T) {
	config := &rest.Config{Host: refusing(t)}
	wrapTransport(config)
	client, err := clientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	log := funcr.New(func(_, args string) { said <- args }, funcr.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- NewInformers(client, testOptions(), log).Run(ctx) }()
	deadline := time.After(10 * time.Second)
	for named := false; !named; {
		select {
		case line := <-said:
			named = strings.Contains(line, "connection refused")
		case <-deadline:
			t.Fatal("the log does not say that the connection is refused")
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Second):
		t.Error("Run goes on for two seconds after the end of its context")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOnlyRefusedConnectionsAreRenamed(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for original, kept := range map[error]bool{reset: true, refused: false} {
		transport := refusedIsAnError{roundTrip(func(*http.Request) (*http.Response, error) { return nil, original })}
		_, err := transport.RoundTrip(nil) //nolint:bodyclose // there is none
		if err == nil || err.Error() != original.Error() || errors.Is(err, original) != kept {
			t.Errorf("%v becomes %v", original, err)
		}
	}
}
