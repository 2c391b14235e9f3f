package healthcheck

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The kernel may refuse to accept a connection for good (accept(2) lists the errors); package http gives up then.
func TestListenerThatEndedIsOpenedAnew(t *testing.T) {
	s := New(func() bool { return true })
	defer s.Close()
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(free.Addr().String())
	_ = free.Close()
	want := map[netip.AddrPort]Check{addr: {LocalEndpoints: 1}}
	if failed := s.Set(want); len(failed) != 0 {
		t.Fatal(failed)
	}
	_ = s.listeners[addr].socket.Close()
	<-s.listeners[addr].ended
	if failed := s.Set(want); len(failed) != 0 {
		t.Fatal(failed)
	}
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatalf("it is not listened on: %v", err)
	}
	_ = c.Close()
}

// limited is a Server with other limits, and how to connect to it.
func limited(t *testing.T, change func(*limits)) (dial func() net.Conn) {
	t.Helper()
	s := New(func() bool { return true })
	t.Cleanup(s.Close)
	change(&s.limits)
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	if failed := s.Set(map[netip.AddrPort]Check{addr: {LocalEndpoints: 1}}); len(failed) != 0 {
		t.Fatal(failed)
	}
	at := s.listeners[addr].socket.Addr().String()
	return func() net.Conn {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
}

// ask sends a request and returns the status of the answer.
func ask(t *testing.T, c net.Conn, request string) int {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// A client that says nothing must not keep the others out for long.
func TestSilentClientMakesRoomForTheNext(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*limits)
		first  string // what the silent client says before
	}{
		{"from the beginning", func(l *limits) { l.request = 100 * time.Millisecond }, ""},
		{"after a request", func(l *limits) { l.idle = 100 * time.Millisecond }, "GET / HTTP/1.1\r\nHost: node1\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dial := limited(t, func(l *limits) { c.change(l); l.connections = 1 })
			begin := time.Now()
			silent := dial()
			if c.first != "" {
				ask(t, silent, c.first)
			}
			if status := ask(t, dial(), "GET / HTTP/1.0\r\n\r\n"); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			if took := time.Since(begin); took < 100*time.Millisecond {
				t.Errorf("the next client was let in beside the silent one, after %s", took)
			}
			if _, err := io.Copy(io.Discard, silent); err != nil {
				t.Errorf("the silent client still has its connection: %v", err)
			}
		})
	}
}

func TestHeaderThatIsTooLongIsRefused(t *testing.T) {
	dial := limited(t, func(*limits) {})
	long := "GET / HTTP/1.0\r\nX-Long: " + strings.Repeat("x", 16<<10)
	if status := ask(t, dial(), long); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}

// Nothing is without a limit as long as nobody asks for that: net/http takes 0 for none. The numbers are those of docs/security.md.
func TestAServerHasLimitsFromTheStart(t *testing.T) {
	s := New(func() bool { return true })
	defer s.Close()
	l := s.limits
	if l.connections != 64 || l.all != 1024 || cap(s.room) != l.all {
		t.Errorf("%d connections an address, %d on all, for %d of which there is room", l.connections, l.all, cap(s.room))
	}
	if l.header <= 0 || l.header > 8<<10 {
		t.Errorf("%d bytes of header", l.header)
	}
	for name, d := range map[string]time.Duration{"request": l.request, "idle": l.idle} {
		if d <= 0 || d > 10*time.Second {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// One client must not take the descriptors of the whole agent, on however many addresses it comes.
func TestThereIsRoomForSoManyConnectionsOnAllAddressesTogether(t *testing.T) {
	l := defaultLimits()
	l.all, l.idle = 1, time.Minute
	s := newServer(func() bool { return true }, l)
	defer s.Close()
	first, second := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")
	if failed := s.Set(map[netip.AddrPort]Check{first: {LocalEndpoints: 1}, second: {LocalEndpoints: 1}}); len(failed) != 0 {
		t.Fatal(failed)
	}
	ask := func(at netip.AddrPort) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.listeners[at].socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
			return c, err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_ = r.Body.Close()
		}
		return c, err
	}
	holder, err := ask(first)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []netip.AddrPort{first, second} {
		c, err := ask(at)
		if err == nil {
			t.Errorf("%s answers although there is no room", at)
		}
		_ = c.Close()
	}
	_ = holder.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := ask(second)
		_ = c.Close()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no room although the holder is gone: %v", err)
		}
	}
}
