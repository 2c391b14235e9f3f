package healthcheck_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kube-ipvs/kube-ipvs/healthcheck"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freeAddr is an address and port of this machine that nobody listens on.
func freeAddr(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	l := occupy(t, netip.AddrPortFrom(netip.MustParseAddr(host), 0))
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func occupy(t *testing.T, addr netip.AddrPort) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newServer(t *testing.T) (s *healthcheck.Server, healthy *atomic.Bool) {
	t.Helper()
	healthy = new(atomic.Bool)
	healthy.Store(true)
	s = healthcheck.New(healthy.Load)
	t.Cleanup(s.Close)
	return s, healthy
}

func set(t *testing.T, s *healthcheck.Server, want map[netip.AddrPort]healthcheck.Check) {
	t.Helper()
	if failed := s.Set(want); len(failed) != 0 {
		t.Fatalf("cannot listen: %v", failed)
	}
}

func web(n int) healthcheck.Check {
	return healthcheck.Check{Namespace: "shop", Name: "web", LocalEndpoints: n}
}

func request(ctx context.Context, t *testing.T, method string, addr netip.AddrPort, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr.String()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get asks on a connection of its own.
func get(t *testing.T, addr netip.AddrPort) *http.Response {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Do(request(t.Context(), t, http.MethodGet, addr, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Body.Close() })
	return r
}

func refused(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: %v, want it refused", addr, err)
	}
}

func TestAnswerIsThatOfKubeProxy(t *testing.T) {
	for _, c := range []struct {
		name           string
		host           string
		method, path   string
		endpoints      int
		healthy        bool
		status         int
		weight, answer string
	}{
		{"endpoints", "127.0.0.1", "GET", "/", 2, true, 200, "2", `{"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}`},
		{"IPv6", "::1", "GET", "/", 1, true, 200, "1", `{"service":{"namespace":"shop","name":"web"},"localEndpoints":1,"serviceProxyHealthy":true}`},
		{"no endpoint", "127.0.0.1", "GET", "/", 0, true, 503, "0", `{"service":{"namespace":"shop","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true}`},
		{"a node that fails", "127.0.0.1", "GET", "/", 2, false, 503, "2", `{"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":false}`},
		{"any path and method", "127.0.0.1", "PATCH", "/any/thing?x=y", 2, true, 200, "2", `{"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}`},
		{"HEAD", "127.0.0.1", "HEAD", "/", 2, true, 200, "2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, healthy := newServer(t)
			healthy.Store(c.healthy)
			addr := freeAddr(t, c.host)
			set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(c.endpoints)})
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Do(request(t.Context(), t, c.method, addr, c.path, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(text)); r.StatusCode != c.status || got != c.answer {
				t.Errorf("%d %s, want %d %s", r.StatusCode, got, c.status, c.answer)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": c.weight,
			} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("header %s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestAnswerChangesOnAnOpenConnection(t *testing.T) {
	s, healthy := newServer(t)
	addr := freeAddr(t, "127.0.0.1")
	set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(1)})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	ask := func() int {
		t.Helper()
		r := request(t.Context(), t, http.MethodGet, addr, "/", nil)
		if err := r.Write(c); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
	for _, step := range []struct {
		change func()
		want   int
	}{
		{func() {}, 200},
		{func() { set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(0)}) }, 503},
		{func() { set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(3)}) }, 200},
		{func() { healthy.Store(false) }, 503},
	} {
		step.change()
		if got := ask(); got != step.want {
			t.Errorf("%d, want %d", got, step.want)
		}
	}
}

func TestNoRequestIsLostWhileAnswersChange(t *testing.T) {
	s, _ := newServer(t)
	addr := freeAddr(t, "127.0.0.1")
	set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(1)})
	changes, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 2; ; n++ {
			select {
			case <-changes:
				return
			default:
				s.Set(map[netip.AddrPort]healthcheck.Check{addr: web(n)})
			}
		}
	}()
	for range 200 {
		if r := get(t, addr); r.StatusCode != http.StatusOK {
			t.Fatalf("status %d", r.StatusCode)
		}
	}
	close(changes)
	<-ended
}

func TestListenersFollowWhatIsWanted(t *testing.T) {
	s, _ := newServer(t)
	first, second := freeAddr(t, "127.0.0.1"), freeAddr(t, "127.0.0.2")
	other := healthcheck.Check{Namespace: "shop", Name: "other", LocalEndpoints: 1}
	set(t, s, map[netip.AddrPort]healthcheck.Check{first: web(1)})
	refused(t, second)
	open, err := new(net.Dialer).DialContext(t.Context(), "tcp", first.String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if r := get(t, first); r.StatusCode != http.StatusOK {
		t.Fatalf("status %d", r.StatusCode)
	}

	set(t, s, map[netip.AddrPort]healthcheck.Check{second: other})
	refused(t, first)
	_ = open.SetReadDeadline(time.Now().Add(3 * time.Second)) // the server gives a silent client five
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection to an address that is given up: %v, want it closed", err)
	}
	var answer struct{ Service struct{ Name string } }
	if err := json.NewDecoder(get(t, second).Body).Decode(&answer); err != nil || answer.Service.Name != "other" {
		t.Errorf("the answer is for %q, %v", answer.Service.Name, err)
	}
	for range 50 { // an address that is given up is free at once
		set(t, s, nil)
		set(t, s, map[netip.AddrPort]healthcheck.Check{second: other})
	}
	set(t, s, nil)
	refused(t, second)
}

func TestAddressThatCannotBeListenedOnHoldsNoOtherAndIsTriedAgain(t *testing.T) {
	s, _ := newServer(t)
	good, taken := freeAddr(t, "127.0.0.1"), freeAddr(t, "::1")
	absent := netip.MustParseAddrPort("192.0.2.1:32000")
	process := occupy(t, taken)
	want := map[netip.AddrPort]healthcheck.Check{good: web(1), taken: web(1), absent: web(1)}
	failed := s.Set(want)
	if len(failed) != 2 || !errors.Is(failed[taken], syscall.EADDRINUSE) || !errors.Is(failed[absent], syscall.EADDRNOTAVAIL) {
		t.Fatalf("failed: %v, want %s and %s", failed, taken, absent)
	}
	if r := get(t, good); r.StatusCode != http.StatusOK {
		t.Errorf("status %d", r.StatusCode)
	}
	_ = process.Close()
	delete(want, absent)
	set(t, s, want)
	if r := get(t, taken); r.StatusCode != http.StatusOK {
		t.Errorf("status %d once the process has left", r.StatusCode)
	}
}

func TestBodyOfARequestIsNotWaitedFor(t *testing.T) {
	s, _ := newServer(t)
	addr := freeAddr(t, "127.0.0.1")
	set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(1)})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The server gives a client five seconds to send what it announced.
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer before the body came: %v", err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK || !r.Close {
		t.Errorf("status %d, connection closed: %v", r.StatusCode, r.Close)
	}
}

func TestClosedServerListensNowhere(t *testing.T) {
	s, _ := newServer(t)
	addr := freeAddr(t, "127.0.0.1")
	set(t, s, map[netip.AddrPort]healthcheck.Check{addr: web(1)})
	s.Close()
	refused(t, addr)
	if failed := s.Set(map[netip.AddrPort]healthcheck.Check{addr: web(1)}); !errors.Is(failed[addr], http.ErrServerClosed) {
		t.Errorf("after the end: %v", failed)
	}
	s.Close()
}
