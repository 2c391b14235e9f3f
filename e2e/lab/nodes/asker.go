package nodes

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Asker answers a [Remote] that wants to ask from the network namespace of this process: whatever the place of a
// question is, it is here. Nothing but traffic can be asked for.
type Asker struct{ handler http.Handler }

// NewAsker returns an asker whose loads end with life.
func NewAsker(life context.Context) *Asker {
	here := func(place string) (*topo.Host, error) { return topo.Here(place), nil }
	mux := http.NewServeMux()
	newTraffic(life, here).answer(mux)
	return &Asker{mux}
}

// ServeConn answers on one connection until the other side closes it. It closes the connection, which has to know
// deadlines.
func (a *Asker) ServeConn(c net.Conn) error {
	l := &singleListener{conn: c, closed: make(chan struct{})}
	server := &http.Server{Handler: a.handler, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			_ = l.Close()
		}
	}}
	defer server.Close()
	if err := server.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// singleListener accepts one connection, and then waits for its end.
type singleListener struct {
	mu     sync.Mutex
	conn   net.Conn // nil once it was accepted
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *singleListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	c := l.conn
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *singleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *singleListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// DialOver returns a client of an [Asker] to which dial connects. It has one connection at a time, since another may
// lead to another asker, and requests take turns on it. An asker that is lost takes its loads and connections along.
func DialOver(dial func(ctx context.Context) (net.Conn, error)) *Remote {
	return &Remote{url: "http://asker", client: http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxConnsPerHost: 1,
	}}}
}

// Hangup ends the connections of a client that has no request under way.
func (r *Remote) Hangup() { r.client.CloseIdleConnections() }
