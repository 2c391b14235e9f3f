package topo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// One-to-one SCTP sockets behave like TCP's, and package net takes them for such.

// listenSCTP serves both families at the unspecified IPv6 address.
func listenSCTP(at netip.AddrPort) (net.Listener, error) {
	family, addr := sockaddr(at)
	fd, err := socketSCTP(family)
	if err != nil {
		return nil, fmt.Errorf("listen on sctp: %w", err)
	}
	err = unix.Bind(fd, addr)
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on sctp: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close() // FileListener has its own
	return net.FileListener(f)
}

func dialSCTP(ctx context.Context, as, to netip.AddrPort) (net.Conn, error) {
	family, addr := sockaddr(to)
	fd, err := socketSCTP(family)
	if err != nil {
		return nil, fmt.Errorf("dial sctp: %w", err)
	}
	_, own := sockaddr(as) // an association has all addresses of the host where this is the unspecified one
	if err = unix.Bind(fd, own); err == nil {
		err = unix.Connect(fd, addr)
	}
	if errors.Is(err, unix.EINPROGRESS) {
		err = waitConnected(ctx, fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("dial sctp: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close()
	return net.FileConn(f)
}

func sockaddr(a netip.AddrPort) (family int, addr unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func socketSCTP(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
}

// waitConnected waits for the end of a connect that does not block.
func waitConnected(ctx context.Context, fd int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		// In short turns, since the end of the context does not wake poll.
		n, err := unix.Poll(fds, int((20 * time.Millisecond).Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n <= 0 { // nothing happened, or a signal did
			continue
		}
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return err
		}
		if errno != 0 {
			return unix.Errno(errno)
		}
		return nil
	}
}
