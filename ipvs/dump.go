package ipvs

import (
	"context"
	"fmt"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// dumpReals asks for the real servers of one virtual server and calls each for every one.
func (w *writer) dumpReals(ctx context.Context, key frontend.Key, each func(dest)) error {
	seq := w.seq
	w.seq++
	w.buf = appendRealsDump(w.buf[:0], w.family, seq, key)
	if err := w.link.send(w.buf); err != nil {
		return err
	}
	for {
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
			d, err := decodeDest(m, key.Addr)
			if err != nil {
				return fmt.Errorf("real server of %s: %w", key, err)
			}
			each(d)
		}
	}
}
