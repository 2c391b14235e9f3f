//go:build kernel

package host

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// loopback turns on the loopback interface of a fresh namespace.
func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// transport is a kind of socket and the way that it asks for any port.
type transport struct {
	family   int
	protocol frontend.Protocol
	connects bool // to a server, and else it binds
}

func (k transport) String() string {
	how := "bind"
	if k.connects {
		how = "connect"
	}
	return fmt.Sprintf("%s of %s, IPv%d", how, k.protocol, map[int]int{unix.AF_INET: 4, unix.AF_INET6: 6}[k.family])
}

// addr is the loopback address with a port.
func (k transport) addr(port int) unix.Sockaddr {
	if k.family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	}
	return &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
}

func (k transport) socket() (fd int, err error) {
	kind := unix.SOCK_STREAM
	if k.protocol == frontend.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err = unix.Socket(k.family, kind|unix.SOCK_CLOEXEC, int(k.protocol))
	if err != nil {
		return -1, fmt.Errorf("socket of %s: %w", k.protocol, err)
	}
	return fd, nil
}

// open opens a socket on any port, and returns which.
func (k transport) open(server int) (fd int, port uint16, err error) {
	fd, err = k.socket()
	if err != nil {
		return -1, 0, err
	}
	if !k.connects {
		err = unix.Bind(fd, k.addr(0))
	} else if err = unix.SetNonblock(fd, true); err == nil {
		err = unix.Connect(fd, k.addr(server))
	}
	if errors.Is(err, unix.EINPROGRESS) { // it has its port by now
		err = nil
	}
	if err == nil {
		port, err = localPort(fd)
	}
	if err != nil {
		return -1, 0, errors.Join(fmt.Errorf("%s: %w", k, err), unix.Close(fd))
	}
	return fd, port, nil
}

func localPort(fd int) (uint16, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(name.Port), nil
	case *unix.SockaddrInet6:
		return uint16(name.Port), nil
	}
	return 0, fmt.Errorf("a socket of %T", name)
}

// serve listens on a port of loopback until the test ends. Its backlog is long enough for all who connect.
func (k transport) serve(t testing.TB, port int) error {
	fd, err := k.socket()
	if err != nil {
		return err
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, k.addr(port)); err != nil || k.protocol == frontend.UDP {
		return err
	}
	return unix.Listen(fd, 64)
}

// takeAll opens sockets until the kernel has no port left, and returns the ports. They are closed without a trace.
func (k transport) takeAll(server int) (*portSet, error) {
	got := new(portSet)
	var err error
	for range 100 {
		fd, port, e := k.open(server)
		if e != nil {
			if !errors.Is(e, unix.EADDRINUSE) && !errors.Is(e, unix.EADDRNOTAVAIL) && !errors.Is(e, unix.EAGAIN) {
				err = fmt.Errorf("after %v: %w", got.ranges(), e)
			}
			break
		}
		got.add(frontend.PortRange{First: port, Last: port})
		defer func() {
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // no TIME_WAIT
			_ = unix.Close(fd)
		}()
	}
	return got, err
}
