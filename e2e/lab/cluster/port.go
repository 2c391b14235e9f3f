package cluster

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// port is a TCP port of 127.0.0.1 that stays ours while our processes start and stop: a socket that is bound and does
// not listen. Who listens with SO_REUSEADDR, as every Go program does, may do so beside it, but the kernel gives the
// port to nobody who asks for any, neither to listen nor to connect from. A port that is merely looked for is taken by
// then, one time in a while.
type port struct {
	number int
	socket int
}

func reservePort() (*port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	p := &port{socket: fd}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		p.release()
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	if in, ok := name.(*unix.SockaddrInet4); ok {
		p.number = in.Port
	}
	return p, nil
}

func (p *port) release() { _ = unix.Close(p.socket) }

func (p *port) addr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(p.number))
}
