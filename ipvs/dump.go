package ipvs

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// dumpReals asks for the real servers of one virtual server and calls each for every one.
func (w *writer) dumpReals(ctx context.Context, key frontend.Key, each func(dest)) error {
	w.buf = appendRealsDump(w.buf[:0], w.family, w.seq, key)
	return w.dump(ctx, func(m message) error {
		d, err := decodeDest(m, key.Addr)
		if err != nil {
			return fmt.Errorf("real server of %s: %w", key, err)
		}
		each(d)
		return nil
	})
}

// dumpRealStats is dumpReals with the counters.
func (w *writer) dumpRealStats(ctx context.Context, key frontend.Key, each func(netip.AddrPort, RealStats)) error {
	w.buf = appendRealsDump(w.buf[:0], w.family, w.seq, key)
	return w.dump(ctx, func(m message) error {
		addr, s, err := decodeRealStats(m, key.Addr)
		if err != nil {
			return fmt.Errorf("real server of %s: %w", key, err)
		}
		each(addr, s)
		return nil
	})
}

// dumpVirtualStats asks for the virtual servers and calls each for every one that has an address. While somebody writes,
// some may be missing and some may come twice: the kernel goes on by position and marks nothing (no NLM_F_DUMP_INTR in
// Linux 6.1).
func (w *writer) dumpVirtualStats(ctx context.Context, each func(frontend.Key, Counters)) error {
	w.buf = appendVirtualsDump(w.buf[:0], w.family, w.seq)
	return w.dump(ctx, func(m message) error {
		key, c, ok, err := decodeVirtualStats(m)
		if err != nil {
			return fmt.Errorf("virtual server: %w", err)
		}
		if ok {
			each(key, c)
		}
		return nil
	})
}

// dumpVirtuals is dumpVirtualStats with the configuration instead.
func (w *writer) dumpVirtuals(ctx context.Context, each func(frontend.Key, VirtualServer)) error {
	w.buf = appendVirtualsDump(w.buf[:0], w.family, w.seq)
	return w.dump(ctx, func(m message) error {
		key, v, ok, err := decodeVirtual(m, w.names())
		if err != nil {
			return fmt.Errorf("virtual server: %w", err)
		}
		if ok {
			each(key, v)
		}
		return nil
	})
}

// sameReals reports whether a dump has exactly these real servers, and calls each for every one that it has. It allocates
// nothing for each of them.
func (w *writer) sameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]RealServer, each func(netip.AddrPort, Connections)) (bool, error) {
	n, same := 0, true
	err := w.dumpReals(ctx, key, func(d dest) {
		known, ok := reals[d.key]
		n, same = n+1, same && ok && known == d.real
		if each != nil {
			each(d.key, d.conns)
		}
	})
	return same && n == len(reals), err
}

// get asks for the real servers of a virtual server and then, in the same system call, for itself, because only that
// answer tells whether it exists: the dump of a missing one is empty and no error. It is ESRCH then.
func (w *writer) get(ctx context.Context, key frontend.Key, each func(dest)) (v VirtualServer, err error) {
	reals, virtual := w.seq, w.seq+1
	w.seq += 2
	w.buf = appendRealsDump(w.buf[:0], w.family, reals, key)
	w.buf = appendVirtualRequest(w.buf, w.family, virtual, key)
	var (
		refused                  error
		told                     bool // what the virtual server is
		realsEnded, virtualEnded bool
	)
	err = w.answers(ctx, func(m message) (bool, error) {
		switch ends := m.typ == msgDone || m.typ == msgError; {
		case m.seq == virtual && ends:
			refused, virtualEnded = m.failure(), true
		case m.seq == virtual:
			var addressed bool
			if _, v, addressed, err = decodeVirtual(m, w.names()); err != nil {
				return true, err
			}
			if !addressed {
				return true, fmt.Errorf("%w: a virtual server without an address", errMalformed)
			}
			told, virtualEnded = true, true
		case m.seq == reals && ends:
			realsEnded = true
			if err := m.failure(); err != nil {
				return true, err
			}
		case m.seq == reals:
			d, err := decodeDest(m, key.Addr)
			if err != nil {
				return true, fmt.Errorf("real server: %w", err)
			}
			each(d)
		}
		return realsEnded && virtualEnded, nil
	})
	if err == nil {
		err = refused
	}
	if err == nil && !told {
		err = fmt.Errorf("%w: an answer without a virtual server", errMalformed)
	}
	return v, err
}

// dump sends the request in the buffer, which has the next sequence number, and calls each for every message of the
// answer. After an error the rest of the answer is still under way, so the link is to be opened anew.
func (w *writer) dump(ctx context.Context, each func(message) error) error {
	seq := w.seq
	w.seq++
	return w.answers(ctx, func(m message) (bool, error) {
		switch {
		case m.seq != seq:
			return false, nil
		case m.typ == msgDone, m.typ == msgError:
			return true, m.failure()
		}
		return false, each(m)
	})
}

// answers sends the buffer and hands every message that comes back to take, until that has the last one or fails.
// Messages with other sequence numbers are left-overs of an exchange that was given up.
func (w *writer) answers(ctx context.Context, take func(message) (last bool, err error)) error {
	if err := w.link.send(w.buf); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := w.link.receive(ctx, answerLimit)
		if err != nil {
			return err
		}
		for len(b) > 0 {
			var m message
			if m, b, err = nextMessage(b); err != nil {
				return err
			}
			if last, err := take(m); last || err != nil {
				return err
			}
		}
	}
}

// names are those that this writer has read.
func (w *writer) names() schedulerNames {
	if w.schedulers == nil {
		w.schedulers = schedulerNames{}
	}
	return w.schedulers
}
