package healthcheck

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
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

// A client that says nothing must not keep the others out for long.
func TestSilentClientMakesRoomForTheNext(t *testing.T) {
	s := New(func() bool { return true })
	defer s.Close()
	s.limits.request, s.limits.connections = 100*time.Millisecond, 1
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	if failed := s.Set(map[netip.AddrPort]Check{addr: {LocalEndpoints: 1}}); len(failed) != 0 {
		t.Fatal(failed)
	}
	at := s.listeners[addr].socket.Addr().String()
	dial := func() net.Conn {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	silent := dial()
	defer silent.Close()
	c := dial()
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("the next client is not answered: %v", err)
	}
	_ = r.Body.Close()
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the silent client still has its connection: %v", err)
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
