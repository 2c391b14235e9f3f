package ipvs

import (
	"context"
	"errors"
	"fmt"

	moby "github.com/moby/ipvs"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// handle is the kernel's table in one network namespace. It has two sockets: moby/ipvs reads virtual servers and
// timeouts through one, and through the other go batches of operations and dumps of real servers, which moby/ipvs
// cannot send or reads with half of the weight.
type handle struct {
	session
	moby *moby.Handle // nil after a call that was given up, until the next one

	// What List has to know to stay exact, see read_linux.go.
	surveyed bool
	limited  map[frontend.Key]bool
}

var _ Handle = (*handle)(nil)

// Open opens the table of a network namespace and changes nothing there. Being asked for the netlink family of IPVS, the
// kernel loads module ip_vs by itself (measured on Linux 6.1), also for a process that may not load modules; it is
// ErrNoIPVS if it has none.
func Open(o Options) (Handle, error) {
	s, err := newSession(o)
	if err != nil {
		return nil, fmt.Errorf("ipvs: open: %w", err)
	}
	h := &handle{session: s, limited: map[frontend.Key]bool{}}
	if err := inNamespace(h.ns, h.open); err != nil {
		return nil, fmt.Errorf("ipvs: open: %w", errors.Join(err, h.close()))
	}
	return h, nil
}

// open runs in the namespace of the handle and opens what is not open. moby/ipvs comes last: it takes IPVS for granted.
func (h *handle) open() error {
	if err := h.session.open(); err != nil {
		return err
	}
	if h.moby == nil {
		m, err := openMoby()
		if err != nil {
			return fmt.Errorf("moby/ipvs: %w", err)
		}
		h.moby = m
	}
	return nil
}

// begin waits for the caller's turn and opens anew what an earlier call had to give up. The call ends with end.
func (h *handle) begin(ctx context.Context) error {
	if err := h.session.begin(ctx); err != nil || h.sock != nil && h.moby != nil {
		return err
	}
	return h.reopen(h.open)
}

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

func (h *handle) Close() error {
	if err := h.finish(h.close); err != nil {
		return fmt.Errorf("ipvs: close: %w", err)
	}
	return nil
}

// close closes what is open.
func (h *handle) close() error {
	if h.moby != nil {
		h.moby.Close()
	}
	return h.session.close()
}
