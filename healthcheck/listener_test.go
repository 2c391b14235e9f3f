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
