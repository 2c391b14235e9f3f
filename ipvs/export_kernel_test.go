//go:build kernel && linux

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// SetBatch lets h send so many operations in one system call, with buffers as for its own number of them.
func SetBatch(h Handle, ops int) error {
	k := h.(*handle)
	k.writer.maxOps, k.writer.maxBytes = ops, ops*maxMessage
	return errors.Join(unix.SetsockoptInt(k.sock.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*ops*maxMessage),
		unix.SetsockoptInt(k.sock.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ops*answerCost))
}

// LookUpFamily looks a netlink family up as Open does with the one of IPVS.
func LookUpFamily(ctx context.Context, name string) error {
	s, err := openSocket()
	if err != nil {
		return err
	}
	defer s.close()
	_, err = lookUpFamily(ctx, s, 1, name)
	return err
}

// ShrinkReceiveBuffer lets h lose answers: its socket keeps few, and its writer does not know.
func ShrinkReceiveBuffer(h Handle) error {
	return unix.SetsockoptInt(h.(*handle).sock.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
}

// GiveUp leaves h as exchanges do that got no answer.
func GiveUp(h Handle) { h.(*handle).dropSocket() }

// CloseSocket closes the socket of h behind its back.
func CloseSocket(h Handle) { h.(*handle).sock.close() }

// ProbeIPv6 is what the kernel says to the probe's request.
func ProbeIPv6(ctx context.Context, h Handle, scheduler string) error {
	op := Op{Verb: AddVirtual, Key: probeKey(), Virtual: VirtualServer{Scheduler: scheduler}}
	w := h.(*handle).writer
	w.seq++
	w.buf = appendProbe(w.buf[:0], w.family, w.seq, &op)
	results := make([]error, 1)
	return errors.Join(w.exchange(ctx, w.seq, []Op{op}, results), results[0])
}

// ProbeIPv4 probes a scheduler as on a kernel whose IPVS has no IPv6.
func ProbeIPv4(ctx context.Context, h Handle, scheduler string) error {
	return h.(*handle).probeIPv4(ctx, Op{Verb: AddVirtual, Key: probeKey(), Virtual: VirtualServer{Scheduler: scheduler}})
}

// Reopen opens another handle in the network namespace of h.
func Reopen(h Handle) (Handle, error) {
	return Open(Options{Namespace: fmt.Sprintf("/proc/self/fd/%d", int(h.(*handle).ns))})
}

// GiveUpReading leaves r as reads do that got no answer.
func GiveUpReading(r StatsReader) { r.(*statsReader).dropSocket() }

// Reads are how often the kernel was asked for bytes.
type Reads struct{ Requests, Answers, Messages, Proc int }

// ForgetProcOf makes r read as on a kernel without /proc/net/ip_vs.
func ForgetProcOf(r StatsReader) error {
	s := r.(*statsReader)
	err := s.proc.Close()
	s.proc = nil
	return err
}

// CountReads lets r count from now on.
func CountReads(r StatsReader) *Reads {
	s, n := r.(*statsReader), &Reads{}
	s.writer.link, s.proc = countingLink{s.writer.link, n}, countingFile{s.proc, n}
	return n
}

// CountExchanges lets h count from now on.
func CountExchanges(h Handle) *Reads {
	k, n := h.(*handle), &Reads{}
	k.writer.link = countingLink{k.writer.link, n}
	return n
}

type countingLink struct {
	link
	*Reads
}

func (l countingLink) send(b []byte) error {
	for rest := b; len(rest) > 0; l.Requests++ {
		var err error
		if _, rest, err = nextMessage(rest); err != nil {
			return err
		}
	}
	return l.link.send(b)
}

func (l countingLink) receive(ctx context.Context, wait time.Duration) ([]byte, error) {
	b, err := l.link.receive(ctx, wait)
	l.Answers++
	for rest := b; err == nil && len(rest) > 0; l.Messages++ {
		_, rest, err = nextMessage(rest)
	}
	return b, err
}

type countingFile struct {
	io.ReadSeekCloser
	*Reads
}

func (f countingFile) Read(b []byte) (int, error) {
	f.Proc++
	return f.ReadSeekCloser.Read(b)
}
