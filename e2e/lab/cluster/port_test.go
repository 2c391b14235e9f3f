package cluster

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAReservedPortIsOursToListenOnAgainAndAgain(t *testing.T) {
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	at := p.addr().String()
	var d net.Dialer
	for range 3 {
		var listen net.ListenConfig
		l, err := listen.Listen(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		// The server closes first, so that the port is left in TIME_WAIT, as that of an API server is.
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		c.Close()
		l.Close()
		if c, err := d.DialContext(t.Context(), "tcp", at); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("without a listener: %v, %v", c, err)
		}
	}
}

func TestAReservedPortIsRefusedToWhoWouldConnectFromIt(t *testing.T) {
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: p.number}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v, want EADDRINUSE", err)
	}
}

func TestReservedPortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		p, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		defer p.release()
		if seen[p.number] {
			t.Fatalf("%d was given twice", p.number)
		}
		seen[p.number] = true
	}
}
