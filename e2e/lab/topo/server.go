package topo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// server is everything a pod serves. All of it answers "NAME CLIENT-ADDRESS\n".
type server struct {
	name    string
	streams []net.Listener // TCP, and SCTP if asked for
	udp     []net.PacketConn
	http    *http.Server
	queue   *connQueue // from streams to http

	accepting sync.WaitGroup // the loops that accept connections
	others    sync.WaitGroup // the other loops
	undecided sync.WaitGroup // connections that said nothing yet
	lines     sync.WaitGroup // connections that speak lines, or nothing yet

	mu    sync.Mutex
	conns map[net.Conn]bool // those of lines
}

// newServer serves in a host's namespace, at each of the addresses.
func newServer(ctx context.Context, h *Host, name string, sctp bool, at ...netip.AddrPort) (*server, error) {
	s := &server{name: name, conns: map[net.Conn]bool{}}
	for _, addr := range at {
		if err := h.Do(func() error { return s.listen(ctx, addr, sctp) }); err != nil {
			s.closeListeners()
			return nil, err
		}
	}
	s.queue = newConnQueue(s.streams[0].Addr())
	s.http = &http.Server{Handler: http.HandlerFunc(s.serveHTTP), ReadHeaderTimeout: time.Minute}
	s.others.Go(func() { _ = s.http.Serve(s.queue) })
	for _, l := range s.streams {
		s.accepting.Go(func() { s.accept(l) })
	}
	for _, c := range s.udp {
		s.others.Go(func() { s.serveDatagrams(c) })
	}
	return s, nil
}

func (s *server) listen(ctx context.Context, at netip.AddrPort, sctp bool) error {
	var config net.ListenConfig
	tcp, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	s.streams = append(s.streams, tcp)
	udp, err := config.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return err
	}
	s.udp = append(s.udp, udp)
	if !sctp {
		return nil
	}
	l, err := listenSCTP(at)
	if err != nil {
		return err
	}
	s.streams = append(s.streams, l)
	return nil
}

// shutdown closes the listeners and waits for connections to end. HTTP is last: a connection that was accepted and
// has yet to say that it speaks HTTP is served too.
func (s *server) shutdown(ctx context.Context) error {
	s.closeListeners()
	s.accepting.Wait()
	if err := wait(ctx, &s.undecided); err != nil {
		return err
	}
	return errors.Join(s.http.Shutdown(ctx), wait(ctx, &s.lines))
}

func wait(ctx context.Context, g *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends everything at once and waits for it.
func (s *server) close() {
	s.closeListeners()
	s.accepting.Wait()
	_ = s.http.Close()
	s.queue.close() // Serve does, but may not have been called yet
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.lines.Wait()
	s.others.Wait()
}

func (s *server) closeListeners() {
	for _, l := range s.streams {
		_ = l.Close()
	}
	for _, c := range s.udp {
		_ = c.Close()
	}
}

func (s *server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			return // closed
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.undecided.Add(1)
		s.lines.Go(func() { s.serveConn(c) })
	}
}

// serveConn answers each line, unless the connection speaks HTTP.
func (s *server) serveConn(c net.Conn) {
	r := bufio.NewReader(c)
	start, err := r.Peek(len("GET "))
	if err == nil && string(start) == "GET " {
		s.forget(c)
		s.queue.put(peekedConn{c, r})
		s.undecided.Done()
		return
	}
	s.undecided.Done()
	defer s.forget(c)
	defer c.Close()
	for {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		if _, err := c.Write(s.answer(c.RemoteAddr().String())); err != nil {
			return
		}
	}
}

func (s *server) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// serveHTTP answers, after ?wait=DURATION if that is asked for.
func (s *server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	_, _ = w.Write(s.answer(r.RemoteAddr))
}

func (s *server) serveDatagrams(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		_, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo(s.answer(from.String()), from)
		}
	}
}

func (s *server) answer(client string) []byte {
	if a, err := netip.ParseAddrPort(client); err == nil {
		client = a.Addr().Unmap().String()
	}
	return []byte(s.name + " " + client + "\n")
}

// parseAnswer reads what answer wrote.
func parseAnswer(s string) (Answer, error) {
	pod, client, ok := strings.Cut(strings.TrimSuffix(s, "\n"), " ")
	addr, err := netip.ParseAddr(client)
	if !ok || err != nil {
		return Answer{}, fmt.Errorf("unexpected answer %q", s)
	}
	return Answer{Pod: pod, Client: addr}, nil
}
