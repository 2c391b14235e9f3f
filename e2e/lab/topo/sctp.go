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

func listenSCTP(port int) (net.Listener, error) {
	fd, err := socketSCTP(unix.AF_INET6)
	if err != nil {
		return nil, fmt.Errorf("listen on sctp: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet6{Port: port}) // both families
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

func dialSCTP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := socketSCTP(family)
	if err != nil {
		return nil, fmt.Errorf("dial sctp: %w", err)
	}
	err = unix.Connect(fd, addr)
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
		if n == 0 {
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
