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

// dump sends the request in the buffer, which has the next sequence number, and calls each for every message of the
// answer. After an error the rest of the answer is still under way, so the link is to be opened anew.
func (w *writer) dump(ctx context.Context, each func(message) error) error {
	seq := w.seq
	w.seq++
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
			if m.seq != seq {
				continue
			}
			switch m.typ {
			case msgDone, msgError:
				return m.failure()
			}
			if err := each(m); err != nil {
				return err
			}
		}
	}
}
