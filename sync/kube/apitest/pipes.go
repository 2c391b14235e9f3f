package apitest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// pipes is a listener whose connections are pipes.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu      sync.Mutex
	refuses bool
	tls     *tls.Config
	open    map[*conn]struct{}
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{}), open: map[*conn]struct{}{}}
}

// conn is the client's end of a connection.
type conn struct {
	net.Conn
	of    *pipes
	mu    sync.Mutex
	reset bool
}

// Read is that of net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reset && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)) {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return n, err
}

// Close is that of net.Conn.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	refuses, config := p.refuses, p.tls
	p.mu.Unlock()
	if refuses {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	c := &conn{Conn: client, of: p}
	if config != nil {
		server = tls.Server(server, config)
	}
	select {
	case p.accepted <- server:
	case <-p.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	p.open[c] = struct{}{}
	p.mu.Unlock()
	return c, nil
}

func (p *pipes) reset() {
	p.mu.Lock()
	open := p.open
	p.open = map[*conn]struct{}{}
	p.mu.Unlock()
	for c := range open {
		c.mu.Lock()
		c.reset = true
		c.mu.Unlock()
		_ = c.Conn.Close()
	}
}

func (p *pipes) refuse(refuses bool) {
	p.mu.Lock()
	p.refuses = refuses
	p.mu.Unlock()
	p.reset()
}

func (p *pipes) use(config *tls.Config) {
	p.mu.Lock()
	p.tls = config
	p.mu.Unlock()
	p.reset()
}

// Accept is that of net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close is that of net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is that of net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "apitest", Net: "pipe"} }
