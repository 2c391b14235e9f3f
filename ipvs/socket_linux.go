package ipvs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// The buffers asked for. A failed message costs about 1 KiB of the receive buffer until it is read.
	wantSendBuffer    = 2 * maxBatchBytes
	wantReceiveBuffer = maxBatchOps * answerCost
	answerCost        = 2048

	// sendOverhead is what the kernel keeps back of the send buffer (netlink_sendmsg: len > sk_sndbuf - 32 is EMSGSIZE).
	sendOverhead = 32

	// receiveSize holds the largest message of a dump, which the kernel limits to 32 KiB.
	receiveSize = 64 << 10

	// pollSlice is how often a wait for an answer looks at its context.
	pollSlice = 100 * time.Millisecond
)

// socket is a generic-netlink socket. It stays in the network namespace of the thread that opened it.
type socket struct {
	nl  *nl.NetlinkSocket
	fd  int
	buf []byte
}

func openSocket() (*socket, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("open a generic netlink socket: %w", err)
	}
	fd := s.GetFd()
	// Without privilege both are silently cut to net.core.wmem_max and rmem_max; batchLimits reads what came out.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wantSendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, wantSendBuffer)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wantReceiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, wantReceiveBuffer)
	}
	// From here on nobody but the kernel can send it anything (netlink_getsockbyportid), so no sender is looked at.
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: nl.PidKernel}); err != nil {
		s.Close()
		return nil, fmt.Errorf("connect a generic netlink socket: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		s.Close()
		return nil, fmt.Errorf("generic netlink socket: %w", err)
	}
	// Without it every error brings its request back, which is no more than a waste of buffer (Linux 4.3).
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &socket{nl: s, fd: fd, buf: make([]byte, receiveSize)}, nil
}

// batchLimits is what one batch may have so that it can be sent, and so that all its answers can be kept.
func (s *socket) batchLimits() (bytes, ops int, err error) {
	send, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0, 0, fmt.Errorf("size of the send buffer: %w", err)
	}
	receive, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0, 0, fmt.Errorf("size of the receive buffer: %w", err)
	}
	return min(maxBatchBytes, send-sendOverhead), max(1, min(maxBatchOps, receive/answerCost)), nil
}

func (s *socket) send(b []byte) error {
	for {
		_, err := unix.Write(s.fd, b)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *socket) receive(ctx context.Context, wait time.Duration) ([]byte, error) {
	deadline := time.Now().Add(wait)
	for {
		n, err := unix.Read(s.fd, s.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if err := s.poll(ctx, deadline); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("receive: %w", err)
		}
		return s.buf[:n], nil
	}
}

// poll waits a moment for something to receive.
func (s *socket) poll(ctx context.Context, deadline time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	left := time.Until(deadline)
	if left <= 0 {
		return ErrSilent
	}
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, int(min(left, pollSlice).Milliseconds())+1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	return nil
}

func (s *socket) close() { s.nl.Close() }
