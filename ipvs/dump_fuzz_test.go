package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// cutUp is a kernel whose answers come in pieces of a size, and then nothing more.
type cutUp struct {
	stream []byte
	size   int
	left   []byte
}

func (c *cutUp) send([]byte) error {
	c.left = c.stream
	return nil
}

func (c *cutUp) receive(context.Context, time.Duration) ([]byte, error) {
	if len(c.left) == 0 {
		return nil, ErrSilent
	}
	piece := c.left[:min(len(c.left), c.size)]
	c.left = c.left[len(piece):]
	return piece, nil
}

// messages are those that follow each other as their lengths say, up to the first that lies.
func (c *cutUp) messages() (all []message) {
	for piece := range slices.Chunk(c.stream, c.size) {
		for len(piece) > 0 {
			if len(piece) < 16 {
				return all
			}
			size := int(getU32(piece))
			if size < 16 || size > len(piece) {
				return all
			}
			all = append(all, message{typ: getU16(piece[4:]), seq: getU32(piece[8:]), payload: piece[16:size]})
			piece = piece[min((size+3)&^3, len(piece)):]
		}
	}
	return all
}

// ended is how many messages of an exchange come before its end, and whether that says that all is well.
func (c *cutUp) ended(seq uint32) (before int, ok bool) {
	for _, m := range c.messages() {
		switch {
		case m.seq != seq:
		case m.typ == msgDone || m.typ == msgError:
			empty := m.typ == msgDone && len(m.payload) == 0
			return before, empty || len(m.payload) >= 4 && getU32(m.payload) == 0
		default:
			before++
		}
	}
	return before, false
}

// FuzzDump takes any stream of messages for the answer to each kind of request: lengths that lie, a dump whose end does not come, or
// comes for another, attributes cut off. A listing is whole, to the end that the kernel gave it, or it is an error.
func FuzzDump(f *testing.F) {
	key, six := mustKey("tcp://10.1.0.10:30080"), mustKey("udp://[fd01::10]:53")
	marked := append([][]byte{virtualAttrs(key, Counters{})[0], attr32(svcAttrMark, 7)}, virtualAttrs(key, Counters{})[4:]...)
	virtuals := slices.Concat(
		answer(0x21, 4, virtualMessage(virtual(key, 0, 0, []byte{255, 255, 255, 255})...).payload),
		answer(0x21, 5, virtualMessage(append(virtual(key, 1, 300, []byte{255, 255, 255, 0}), virtualAttrs(key, someCounters)[4:]...)...).payload),
		answer(0x21, 5, virtualMessage(marked...).payload),
		answer(0x21, 5, virtualMessage(virtual(six, 0, 0, wire(uint32(128)))...).payload))
	one := answer(0x21, 5, destMessage(destAttrs(wideStats(someCounters))...).payload)
	self := answer(0x21, 6, virtualMessage(virtual(key, 0, 0, []byte{255, 255, 255, 255})...).payload)
	refused := answer(msgError, 6, wire(^uint32(2)))
	for _, stream := range [][]byte{
		slices.Concat(virtuals, done(5)), virtuals, slices.Concat(virtuals, done(4)), slices.Concat(virtuals, answer(msgDone, 5, nil)),
		slices.Concat(one, one, done(5), self), slices.Concat(one, self, self), slices.Concat(one, done(5), refused), slices.Concat(one, done(5), done(6)),
		slices.Concat(self, one[:len(one)-9], done(5)), slices.Concat(done(5), answer(0x21, 6, virtualMessage(marked...).payload)),
	} {
		f.Add(stream, uint16(len(stream)), uint16(0xffff))
		f.Add(stream, uint16(len(stream)/2), uint16(52))
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut, size uint16) {
		link := &cutUp{stream: stream, size: max(int(size), 1)}
		shorter := &cutUp{stream: stream[:min(int(cut), len(stream))], size: max(int(size), 1)}
		for name, dump := range dumps(key) {
			whole, err := dump(t, link)
			if name == "get" {
				link.checkGot(t, whole, err)
			} else {
				link.checkDumped(t, name, whole, err)
			}
			// What ends earlier has ended, or is an error: it is never fewer entries.
			if part, partErr := dump(t, shorter); partErr == nil && (err != nil || !slices.Equal(part, whole)) {
				t.Errorf("%s: %d bytes of %d give %q, all give %q, %v", name, len(shorter.stream), len(stream), part, whole, err)
			}
		}
	})
}

// dumps are the requests, each with what it tells as text.
func dumps(key frontend.Key) map[string]func(*testing.T, *cutUp) ([]string, error) {
	w := func(link *cutUp) *writer { return &writer{link: link, family: 0x21, seq: 5} }
	wantKey := func(t *testing.T, key frontend.Key) string {
		if !key.Addr.IsValid() || key.Addr.Zone() != "" {
			t.Errorf("a virtual server at %v", key)
		}
		return key.String()
	}
	wantReal := func(t *testing.T, at netip.AddrPort) string {
		if !at.IsValid() {
			t.Errorf("a real server at %v", at)
		}
		return at.String()
	}
	return map[string]func(*testing.T, *cutUp) ([]string, error){
		"virtual servers": func(t *testing.T, link *cutUp) (all []string, err error) {
			err = w(link).dumpVirtuals(t.Context(), func(k frontend.Key, v VirtualServer) {
				if v.Flags&Persistent == 0 && v.PersistenceTimeout != 0 || v.PersistencePrefix > 128 {
					t.Errorf("%s: %+v", k, v)
				}
				all = append(all, wantKey(t, k)+" "+v.String())
			})
			return all, err
		},
		"counters": func(t *testing.T, link *cutUp) (all []string, err error) {
			err = w(link).dumpVirtualStats(t.Context(), func(k frontend.Key, _ Counters) { all = append(all, wantKey(t, k)) })
			return all, err
		},
		"real servers": func(t *testing.T, link *cutUp) (all []string, err error) {
			err = w(link).dumpReals(t.Context(), key, func(d dest) { all = append(all, wantReal(t, d.key)) })
			return all, err
		},
		"their counters": func(t *testing.T, link *cutUp) (all []string, err error) {
			err = w(link).dumpRealStats(t.Context(), key, func(at netip.AddrPort, _ RealStats) { all = append(all, wantReal(t, at)) })
			return all, err
		},
		"get": func(t *testing.T, link *cutUp) (all []string, err error) {
			_, err = w(link).get(t.Context(), key, func(d dest) { all = append(all, wantReal(t, d.key)) })
			return all, err
		},
	}
}

// checkDumped: nothing is made up, and without the kernel's end there is no listing.
func (c *cutUp) checkDumped(t *testing.T, name string, told []string, err error) {
	t.Helper()
	before, ok := c.ended(5)
	virtuals := name == "virtual servers" || name == "counters" // which may have no address
	switch {
	case len(told) > before, err == nil && len(told) != before && !virtuals:
		t.Errorf("%s: %x gives %d entries of %d messages", name, c.stream, len(told), before)
	case err == nil && !ok:
		t.Errorf("%s: %x has no end, and is taken for a whole listing: %q", name, c.stream, told)
	case errors.Is(err, ErrSilent) && ok:
		t.Errorf("%s: %x has an end, and more is waited for", name, c.stream)
	}
}

// checkGot: a virtual server exists when the kernel said what it is, and its real servers are all there when their end came.
func (c *cutUp) checkGot(t *testing.T, told []string, err error) {
	t.Helper()
	if err != nil {
		return
	}
	if before, ok := c.ended(5); !ok || len(told) > before {
		t.Errorf("%x: %d real servers of %d, their end %v", c.stream, len(told), before, ok)
	}
	if !slices.ContainsFunc(c.messages(), func(m message) bool {
		_, _, addressed, err := decodeVirtual(m, schedulerNames{})
		return m.seq == 6 && m.typ != msgDone && m.typ != msgError && addressed && err == nil
	}) {
		t.Errorf("%x: a virtual server of which nothing is said", c.stream)
	}
}
