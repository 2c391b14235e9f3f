package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveLimits are on what a client gets. Without them one could take the file descriptors that the agent needs to
// program the kernel.
type serveLimits struct {
	header      time.Duration // until a request's header is there
	request     time.Duration // until its body is
	answer      time.Duration // until its answer is made and read: a profile or a trace takes as long as was asked for
	idle        time.Duration // between two requests
	headerBytes int           // a browser sends localhost the cookies of everything that was ever there
	connections int           // at a time
}

func defaultServeLimits() serveLimits {
	return serveLimits{
		header: 10 * time.Second, request: 30 * time.Second, answer: 2 * time.Minute, idle: 2 * time.Minute, headerBytes: 32 << 10, connections: 256,
	}
}

// listener is an HTTP endpoint that is bound and not serving yet.
type listener struct {
	net.Listener
	handler http.Handler
	limits  serveLimits
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
	return &listener{Listener: l, handler: handler, limits: defaultServeLimits()}, nil
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
	server := &http.Server{
		Handler:           l.handler,
		ReadHeaderTimeout: l.limits.header,
		ReadTimeout:       l.limits.request,
		WriteTimeout:      l.limits.answer,
		IdleTimeout:       l.limits.idle,
		MaxHeaderBytes:    l.limits.headerBytes,

		DisableGeneralOptionsHandler: true, // net/http itself would answer OPTIONS * with 200, however we are
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(&crowded{Listener: lasting{l.Listener}, most: l.limits.connections}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}
