package healthcheck

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// oneClient is a listener with one client, who has said everything.
type oneClient struct {
	conn  *heard
	taken sync.Once
}

func (l *oneClient) Accept() (c net.Conn, err error) {
	l.taken.Do(func() { c = l.conn })
	if c == nil {
		<-l.conn.closed
		return nil, net.ErrClosed
	}
	return c, nil
}

func (*oneClient) Close() error   { return nil }
func (*oneClient) Addr() net.Addr { return &net.TCPAddr{} }

// heard is a connection from memory.
type heard struct {
	request io.Reader
	mu      sync.Mutex
	answer  bytes.Buffer
	once    sync.Once
	closed  chan struct{}
}

func (c *heard) Read(b []byte) (int, error) { return c.request.Read(b) }

func (c *heard) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answer.Write(b)
}

func (c *heard) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (*heard) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*heard) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*heard) SetDeadline(time.Time) error      { return nil }
func (*heard) SetReadDeadline(time.Time) error  { return nil }
func (*heard) SetWriteDeadline(time.Time) error { return nil }

// FuzzRequests says anything to a health check: whatever it takes for a request is answered with what is so, and the rest is refused.
// Nothing of what was said is in an answer.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n",
		"GET http://[::1]:99999/\x1b HTTP/1.1\r\nHost: \xff\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/3.7\r\n\r\n", "\x16\x03\x01\x00\x05hello", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", "GET / HTTP/1.1\nHost:a\n\n", "\r\n\r\n",
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 0)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // one that is there and free
	if err != nil {
		f.Fatal(err)
	}
	addr := netip.MustParseAddrPort(socket.Addr().String())
	_ = socket.Close()
	s := New(func() bool { return true })
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, said []byte, endpoints int) {
		check := Check{Namespace: "shop", Name: "web", LocalEndpoints: endpoints}
		if failed := s.Set(map[netip.AddrPort]Check{addr: check}); len(failed) > 0 {
			t.Fatal(failed)
		}
		c := &heard{request: bytes.NewReader(said), closed: make(chan struct{})}
		_ = s.listeners[addr].http.Serve(&oneClient{conn: c})
		c.mu.Lock()
		defer c.mu.Unlock()
		checkAnswers(t, said, check, c.answer.String())
	})
}

// checkAnswers takes apart what a client gets. No answer of ours has the beginning of another one in it.
func checkAnswers(t *testing.T, said []byte, check Check, got string) {
	t.Helper()
	const begin = "HTTP/1."
	truth := &struct {
		Service        struct{ Namespace, Name string }
		LocalEndpoints int
		Healthy        bool `json:"serviceProxyHealthy"`
	}{}
	answers := strings.Split(got, begin)
	if answers[0] != "" || len(answers)-1 > 1+bytes.Count(said, []byte("\n")) {
		t.Errorf("%q is answered %d times: %q", said, len(answers)-1, got)
	}
	for _, answer := range answers[1:] {
		head, body, whole := strings.Cut(answer, "\r\n\r\n")
		status, headers, _ := strings.Cut(head, "\r\n")
		want, other := "200", "503"
		if check.LocalEndpoints <= 0 {
			want, other = other, want
		}
		switch code := status[min(2, len(status)):min(5, len(status))]; {
		case !whole || len(answer) > 1<<10:
			t.Errorf("%q is answered with %q", said, answer)
		case code == other:
			t.Errorf("%q is answered with %s, and there are %d endpoints", said, status, check.LocalEndpoints)
		case code == want:
			if body != "" { // else it was HEAD
				err := json.Unmarshal([]byte(body), truth)
				if s := truth.Service; err != nil || s.Namespace != check.Namespace || s.Name != check.Name || truth.LocalEndpoints != check.LocalEndpoints || !truth.Healthy {
					t.Errorf("%q is answered with %q: %v", said, body, err)
				}
			}
			if !strings.Contains(headers, "X-Content-Type-Options: nosniff\r\n") || !strings.Contains(headers, "Content-Type: application/json\r\n") {
				t.Errorf("%q is answered with the headers %q", said, headers)
			}
		case code < "400" || code > "505" || body != "" && !strings.Contains(headers, "Content-Type: text/plain"):
			t.Errorf("%q is answered with %q", said, answer)
		}
	}
}
