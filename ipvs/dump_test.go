package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// recorded is a kernel that answers a dump with what was recorded, some messages at a time.
type recorded struct {
	answers [][]byte
	next    int
	// after is called after each answer.
	after func()
}

func (r *recorded) send([]byte) error {
	r.next = 0
	return nil
}

func (r *recorded) receive(context.Context, time.Duration) ([]byte, error) {
	if r.next == len(r.answers) {
		return nil, ErrSilent
	}
	b := r.answers[r.next]
	r.next++
	if r.after != nil {
		r.after()
	}
	return b, nil
}

func (r *recorded) writer() *writer { return &writer{link: r, family: 0x21, seq: 5} }

// answer is one message of an answer to request seq.
func answer(typ uint16, seq uint32, payload []byte) []byte {
	return wire(uint32(sizeHeader+len(payload)), u16s(typ, 2), seq, uint32(1), payload)
}

func done(seq uint32) []byte { return answer(msgDone, seq, wire(uint32(0))) }

func told(seq uint32, key string, c Counters) []byte {
	return answer(0x21, seq, virtualMessage(virtualAttrs(mustKey(key), c)...).payload)
}

func TestADumpIsReadToItsEndAndNothingElseIs(t *testing.T) {
	all := virtualAttrs(mustKey("tcp://10.1.0.10:30080"), Counters{})
	marked := virtualMessage(append([][]byte{all[0], attr32(svcAttrMark, 7)}, all[4:]...)...)
	r := &recorded{answers: [][]byte{
		told(4, "tcp://10.9.0.9:1", Counters{}), // left over from an earlier exchange
		slices.Concat(told(5, "tcp://10.1.0.10:1", Counters{InBytes: 1}), told(5, "tcp://[fd01::10]:1", Counters{InBytes: 2})),
		slices.Concat(told(5, "tcp://10.1.0.10:2", Counters{InBytes: 3}), done(4), answer(0x21, 5, marked.payload)),
		slices.Concat(told(5, "tcp://10.1.0.10:1", Counters{InBytes: 4}), done(5)),
		told(5, "tcp://10.9.0.9:2", Counters{}),
	}}
	got := map[frontend.Key]uint64{}
	if err := r.writer().dumpVirtualStats(t.Context(), func(k frontend.Key, c Counters) { got[k] = c.InBytes }); err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"tcp://10.1.0.10:1": 4, "tcp://[fd01::10]:1": 2, "tcp://10.1.0.10:2": 3}
	for key, n := range want {
		if got[mustKey(key)] != n || len(got) != len(want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestADumpThatIsNotReadToItsEndIsAnError(t *testing.T) {
	virtual := told(5, "tcp://10.1.0.10:1", Counters{})
	for name, c := range map[string]struct {
		answers [][]byte
		want    error
	}{
		"nothing comes":               {nil, ErrSilent},
		"the end does not come":       {[][]byte{virtual}, ErrSilent},
		"the kernel breaks it off":    {[][]byte{virtual, answer(msgDone, 5, wire(^uint32(syscall.EINTR)+1))}, syscall.EINTR},
		"the kernel refuses it":       {[][]byte{answer(msgError, 5, wire(^uint32(syscall.EPERM)+1))}, syscall.EPERM},
		"a message is cut off":        {[][]byte{virtual[:30], done(5)}, errMalformed},
		"a message has no attributes": {[][]byte{answer(0x21, 5, wire("01010000")), done(5)}, errMalformed},
		"an end without a number":     {[][]byte{answer(msgDone, 5, wire("0000"))}, errMalformed},
	} {
		err := (&recorded{answers: c.answers}).writer().dumpVirtualStats(t.Context(), func(frontend.Key, Counters) {})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestADumpEndsWithItsContextHoweverMuchIsStillToCome(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorded{answers: [][]byte{told(5, "tcp://10.1.0.10:1", Counters{}), told(5, "tcp://10.1.0.10:2", Counters{})}, after: cancel}
	if err := r.writer().dumpVirtualStats(ctx, func(frontend.Key, Counters) {}); !errors.Is(err, context.Canceled) || r.next != 1 {
		t.Errorf("%v after %d answers", err, r.next)
	}
}

func TestRealServersAreDumpedWithTheirCounters(t *testing.T) {
	real := destMessage(destAttrs(wideStats(someCounters))...)
	r := &recorded{answers: [][]byte{answer(0x21, 5, real.payload), done(5)}}
	got := map[netip.AddrPort]RealStats{}
	err := r.writer().dumpRealStats(t.Context(), mustKey("tcp://10.1.0.10:1"), func(a netip.AddrPort, s RealStats) { got[a] = s })
	if addr := netip.MustParseAddrPort("10.244.1.2:8080"); err != nil || len(got) != 1 || got[addr].Counters != someCounters {
		t.Errorf("%v, %v", got, err)
	}
	r.answers[0] = answer(0x21, 5, destMessage(destAttrs()...).payload)
	err = r.writer().dumpRealStats(t.Context(), mustKey("tcp://10.1.0.10:1"), func(netip.AddrPort, RealStats) { t.Error("a real server") })
	if !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), "tcp://10.1.0.10:1") {
		t.Errorf("%v, want an error that names the virtual server", err)
	}
}
