package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// refusing is a listener that has these errors before it accepts.
type refusing struct {
	net.Listener
	errors []error
}

func (l *refusing) Accept() (net.Conn, error) {
	if len(l.errors) > 0 {
		next := l.errors[0]
		l.errors = l.errors[1:]
		return nil, next
	}
	return l.Listener.Accept()
}

// acceptError is an error of the kernel as package net returns it.
func acceptError(errno unix.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
}

// The agent ends with the first of its parts.
func TestAnEndpointOutlivesWhatAcceptFailsWith(t *testing.T) {
	over := map[string]func(handler http.Handler) (*listener, error){
		"tcp": func(handler http.Handler) (*listener, error) {
			return listen(t.Context(), "--healthz-bind-address", "127.0.0.1:0", handler)
		},
		"unix": func(handler http.Handler) (*listener, error) {
			return listenLocally(t.Context(), ownSocket(t), handler)
		},
	}
	for name, failing := range map[string][]error{
		"no memory":            {acceptError(unix.ENOMEM)},
		"no buffers":           {acceptError(unix.ENOBUFS)},
		"no file descriptors":  {acceptError(unix.EMFILE), acceptError(unix.ENFILE)},
		"what nobody knows of": {acceptError(unix.EPERM), errors.New("unknown")},
		"one after the other":  {acceptError(unix.ENOMEM), acceptError(unix.ENOMEM), acceptError(unix.ENOBUFS)},
	} {
		for network, begin := range over {
			t.Run(name+" over "+network, func(t *testing.T) {
				l, err := begin(http.NotFoundHandler())
				if err != nil {
					t.Fatal(err)
				}
				faulty := &refusing{Listener: l.Listener, errors: failing}
				l.Listener = faulty
				c, err := new(net.Dialer).DialContext(t.Context(), network, l.Addr().String()) // waits until it is accepted
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				ctx, end := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- l.serve(ctx) }()
				if status, _ := says(t, c, "GET / HTTP/1.0\r\n\r\n"); status != http.StatusNotFound {
					t.Errorf("status %d", status)
				}
				end()
				if err := <-ended; err != nil || len(faulty.errors) > 0 {
					t.Errorf("it ended with %v; %d errors never came", err, len(faulty.errors))
				}
			})
		}
	}
}

func TestAListenerThatWasClosedIsNotAskedAgain(t *testing.T) {
	l, err := listen(t.Context(), "--healthz-bind-address", "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	if err := l.serve(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
}
