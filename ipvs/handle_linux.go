package ipvs

import (
	"context"
	"errors"
	"fmt"
)

// handle is the kernel's table in one network namespace.
type handle struct {
	session
	dumped int // virtual servers in the last dump: the next map is made for as many
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
	s.renewed = o.Renewed
	h := &handle{session: s}
	if err := inNamespace(h.ns, h.openSocket); err != nil {
		return nil, fmt.Errorf("ipvs: open: %w", errors.Join(err, h.close()))
	}
	return h, nil
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
	return results
}

func (h *handle) Close() error {
	if err := h.finish(h.close); err != nil {
		return fmt.Errorf("ipvs: close: %w", err)
	}
	return nil
}
