package ipvs

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"time"
)

// timeoutAttrs are the attributes of the timeouts, each a number of seconds.
func (t *Timeouts) timeoutAttrs() map[uint16]*time.Duration {
	return map[uint16]*time.Duration{attrTimeoutTCP: &t.TCP, attrTimeoutTCPFin: &t.TCPFin, attrTimeoutUDP: &t.UDP}
}

// validate refuses what no number of seconds says: a part of a second would be cut off, and 0 keeps what the kernel has.
func (t Timeouts) validate() error {
	for _, d := range []time.Duration{t.TCP, t.TCPFin, t.UDP} {
		if d < 0 || d%time.Second != 0 || d/time.Second > math.MaxInt32 {
			return fmt.Errorf("%s is not a number of seconds: %w", d, syscall.EINVAL)
		}
	}
	return nil
}

// appendTimeoutsRequest appends the question for the timeouts. Its answer ends with an acknowledgement, as a dump does.
func appendTimeoutsRequest(b []byte, family uint16, seq uint32) []byte {
	start := len(b)
	return closeMessage(appendHeaders(b, family, flagRequest|flagAck, seq, cmdGetConfig), start)
}

// appendTimeouts appends the message that sets the timeouts that are not zero.
func appendTimeouts(b []byte, family uint16, seq uint32, t Timeouts) []byte {
	start := len(b)
	b = appendHeaders(b, family, flagRequest|flagAck, seq, cmdSetConfig)
	for _, attr := range []uint16{attrTimeoutTCP, attrTimeoutTCPFin, attrTimeoutUDP} {
		b = appendU32(b, attr, uint32(*t.timeoutAttrs()[attr]/time.Second))
	}
	return closeMessage(b, start)
}

// decodeTimeouts reads the answer to appendTimeoutsRequest. A kernel whose IPVS knows a protocol not has no timeout for it.
func decodeTimeouts(m message) (Timeouts, error) {
	var t Timeouts
	fields := t.timeoutAttrs()
	b, err := m.attrs()
	for err == nil && len(b) > 0 {
		var typ uint16
		var value []byte
		if typ, value, b, err = nextAttr(b); err != nil {
			break
		}
		field, known := fields[typ]
		switch {
		case !known:
		case len(value) < 4:
			err = fmt.Errorf("%w: timeout of %d bytes", errMalformed, len(value))
		default:
			*field = time.Duration(getU32(value)) * time.Second
		}
	}
	if err != nil {
		return Timeouts{}, err
	}
	return t, nil
}

func (w *writer) timeouts(ctx context.Context) (t Timeouts, err error) {
	w.buf = appendTimeoutsRequest(w.buf[:0], w.family, w.seq)
	err = w.dump(ctx, func(m message) (err error) {
		t, err = decodeTimeouts(m)
		return err
	})
	return t, err
}

func (w *writer) setTimeouts(ctx context.Context, t Timeouts) error {
	w.buf = appendTimeouts(w.buf[:0], w.family, w.seq, t)
	return w.dump(ctx, func(message) error { return nil })
}
