package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds one step of a request. A lost SYN is sent again after 1, 3 and 7 s; a busy host may stop a guest for seconds.
const patience = 20 * time.Second

// listen takes an address of the network namespace of the calling thread.
func listen(at netip.AddrPort) (int, error) {
	fd, err := sysSocket(at.Addr().Is4())
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	var sockaddr unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	if at.Addr().Is4() {
		sockaddr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	// Connections of who listened there before may be in TIME_WAIT.
	err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr))
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", at, err)
	}
	return fd, nil
}

// accept returns the next connection of a listener, or an error if the client that is to be accepted has failed.
func accept(listener, client int) (int, error) {
	w := waiter{call: "accept", fd: listener, events: unix.POLLIN, client: client}
	for {
		fd, err := sysAccept(listener)
		if err == nil {
			return fd, nil
		}
		if err := w.retry(err); err != nil {
			return -1, err
		}
	}
}

// send sends all of b.
func send(fd int, b []byte) error {
	w := waiter{call: "write", fd: fd, events: unix.POLLOUT}
	for len(b) > 0 {
		n, err := sysWrite(fd, b)
		if err == nil {
			b = b[n:]
		} else if err := w.retry(err); err != nil {
			return err
		}
	}
	return nil
}

// receive fills b.
func receive(fd int, b []byte) error {
	w := waiter{call: "read", fd: fd, events: unix.POLLIN}
	for len(b) > 0 {
		n, err := sysRead(fd, b)
		switch {
		case err == nil && n == 0:
			return errors.New("read: the other side has closed")
		case err == nil:
			b = b[n:]
		default:
			if err := w.retry(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// socketError is what a socket failed with.
func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case n == 0:
		return errors.New("the client's socket was closed")
	}
	return unix.Errno(n)
}

// yields is how often a call that would block is made again before the thread waits.
const yields = 20

// waiter makes calls again that would block.
type waiter struct {
	call   string
	fd     int
	events int16
	client int // of accept
	yields int
}

// retry returns when a call that failed can be made again. Other errors it returns.
//
// A call blocks when the kernel has put packets off to its thread ksoftirqd. A thread that sleeps until they are there is woken by the first of
// them, while ksoftirqd still runs: as long as it does the kernel puts off all that is sent, and this goes on from request to request
// (in an emulated machine each takes 0.7 ms then, instead of 0.2). A thread that yields the processor gets it back when ksoftirqd sleeps.
func (w *waiter) retry(err error) error {
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case !errors.Is(err, unix.EAGAIN):
		return os.NewSyscallError(w.call, err)
	case w.yields < yields:
		w.yields++
		sysYield()
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: w.events}}
	if w.client > 0 {
		fds = append(fds, unix.PollFd{Fd: int32(w.client)})
	}
	n, err := unix.Poll(fds, int(patience.Milliseconds()))
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return os.NewSyscallError("poll", err)
	case n == 0:
		return fmt.Errorf("%s: nothing within %s: %w", w.call, patience, os.ErrDeadlineExceeded)
	case fds[0].Revents == 0:
		return fmt.Errorf("%s: %w", w.call, socketError(w.client))
	}
	return nil
}
