package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// listener is an HTTP endpoint that is bound and not serving yet.
type listener struct {
	net.Listener
	handler http.Handler
}

// listen binds address, so that a port in use is an error at the start. An empty address gives nil.
func listen(ctx context.Context, flag, address string, handler http.Handler) (*listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &listener{Listener: l, handler: handler}, nil
}

// close gives the address up, if it was bound.
func (l *listener) close() {
	if l != nil {
		_ = l.Close()
	}
}

// serve answers until ctx ends.
func (l *listener) serve(ctx context.Context) error {
	if l == nil {
		return nil
	}
	server := &http.Server{Handler: l.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}
