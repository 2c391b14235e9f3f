package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netns"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// handle is the kernel's table in one network namespace. It has two sockets: moby/ipvs reads virtual servers and
// timeouts through one, and through the other go batches of operations and dumps of real servers, which moby/ipvs
// cannot send or reads with half of the weight.
type handle struct {
	ns netns.NsHandle
	// turn is held during a call: both sockets carry one exchange at a time.
	turn   chan struct{}
	closed bool

	family uint16
	sock   *socket // nil after an exchange that was given up, until the next
	writer *writer
	moby   *moby.Handle // nil like sock
	proc   *os.File     // /proc/net/ip_vs of the namespace; nil where the kernel has none

	// What List has to know to stay exact, see read_linux.go.
	surveyed bool
	limited  map[frontend.Key]bool
}

var _ Handle = (*handle)(nil)

// Open opens the table of a network namespace and changes nothing there. Being asked for the netlink family of IPVS, the
// kernel loads module ip_vs by itself (measured on Linux 6.1), also for a process that may not load modules; it is
// ErrNoIPVS if it has none.
func Open(o Options) (Handle, error) {
	ns, err := openNamespace(o.Namespace)
	if err != nil {
		return nil, fmt.Errorf("ipvs: open: %w", err)
	}
	h := &handle{ns: ns, turn: make(chan struct{}, 1), limited: map[frontend.Key]bool{}}
	if err := inNamespace(ns, h.open); err != nil {
		return nil, fmt.Errorf("ipvs: open: %w", errors.Join(err, h.close()))
	}
	return h, nil
}

// open runs in the namespace of the handle and opens what is not open.
func (h *handle) open() error {
	if h.sock == nil {
		if err := h.openSocket(); err != nil {
			return err
		}
	}
	if h.moby == nil {
		m, err := openMoby()
		if err != nil {
			return fmt.Errorf("moby/ipvs: %w", err)
		}
		h.moby = m
	}
	if h.proc == nil {
		// The file follows the namespace of the thread that opens it, whoever reads it then.
		f, err := os.Open("/proc/thread-self/net/ip_vs")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		h.proc = f
	}
	return nil
}

func (h *handle) openSocket() error {
	s, err := openSocket()
	if err != nil {
		return err
	}
	h.sock = s
	if h.family, err = lookUpFamily(context.Background(), s, familyName); err != nil {
		return err
	}
	bytes, ops, err := s.batchLimits()
	if err != nil {
		return err
	}
	h.writer = &writer{link: s, family: h.family, seq: 1, maxBytes: bytes, maxOps: ops, buf: make([]byte, 0, bytes)}
	return nil
}

// begin waits for the caller's turn and opens anew what an earlier call had to give up. The call ends with end.
func (h *handle) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if h.closed {
		h.end()
		return os.ErrClosed
	}
	if h.sock != nil && h.moby != nil {
		return nil
	}
	if err := inNamespace(h.ns, h.open); err != nil {
		h.end()
		return fmt.Errorf("open again: %w", err)
	}
	return nil
}

func (h *handle) end() { <-h.turn }

func (h *handle) Do(ctx context.Context, ops []Op) []error {
	results := make([]error, len(ops))
	if len(ops) == 0 {
		return results
	}
	if err := h.begin(ctx); err != nil {
		refuse(ops, results, err)
		return results
	}
	defer h.end()
	for done := 0; done < len(ops); {
		if err := ctx.Err(); err != nil {
			refuse(ops[done:], results[done:], err)
			break
		}
		n, err := h.writer.write(ctx, ops[done:], results[done:])
		done += n
		if err != nil {
			h.dropSocket()
			refuse(ops[done:], results[done:], err)
			break
		}
	}
	h.rememberLimits(ops)
	return results
}

// dropSocket makes the next call open a new socket: an exchange was given up in its midst.
func (h *handle) dropSocket() {
	h.sock.close()
	h.sock = nil
}

func (h *handle) Close() error {
	h.turn <- struct{}{}
	defer h.end()
	if h.closed {
		return fmt.Errorf("ipvs: close: %w", os.ErrClosed)
	}
	h.closed = true
	return h.close()
}

// close closes what is open.
func (h *handle) close() error {
	if h.sock != nil {
		h.sock.close()
	}
	if h.moby != nil {
		h.moby.Close()
	}
	var errs []error
	if h.proc != nil {
		errs = append(errs, h.proc.Close())
	}
	return errors.Join(append(errs, h.ns.Close())...)
}
