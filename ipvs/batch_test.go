package ipvs

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// answering is a kernel that says what a test wants to every message it gets.
type answering struct {
	// errno is the answer to message n of a batch, counted from 0.
	errno func(n int) syscall.Errno
	// room is how many answers the receive buffer holds; 0 is no limit.
	room int
	// before has answers that are left over from an earlier exchange.
	before [][]byte
	// mute keeps the acknowledgement back, so that the last answer never comes.
	mute bool
	// refuse is the error of send.
	refuse error
	// family is the number that IPVS goes by, 0 that of testWriter; messages with another one are refused.
	family uint16
	// always: every message has an answer, whether it asks for one or not.
	always bool
	// absent: there is no IPVS.
	absent bool

	queue   [][]byte
	overrun bool
	batches []int // messages in each
	bytes   []int
}

func (k *answering) send(b []byte) error {
	if k.refuse != nil {
		return k.refuse
	}
	k.queue, k.before = k.before, nil
	k.bytes = append(k.bytes, len(b))
	n := 0
	for ; len(b) > 0; n++ {
		asked := getU16(b[6:])&flagAck != 0
		m, rest, err := nextMessage(b)
		if err != nil {
			return err
		}
		b = rest
		if m.typ == genlControl {
			k.answerFamily(m.seq)
			return nil
		}
		var e syscall.Errno
		switch {
		case k.absent || m.typ != k.number():
			e = syscall.ENOENT // of generic netlink
		case k.errno != nil:
			e = k.errno(n)
		}
		if e != 0 || k.always || asked && !k.mute {
			k.answer(m.seq, e)
		}
	}
	k.batches = append(k.batches, n)
	return nil
}

func (k *answering) number() uint16 { return cmp.Or(k.family, testFamily) }

// answerFamily says which number IPVS has.
func (k *answering) answerFamily(seq uint32) {
	if k.absent {
		k.answer(seq, syscall.ENOENT)
		return
	}
	k.queue = append(k.queue, wire(uint32(28), u16s(genlControl, 0), seq, uint32(0), make([]byte, 4), u16s(8, ctrlAttrID, k.number(), 0)))
}

func (k *answering) answer(seq uint32, e syscall.Errno) {
	if k.room > 0 && len(k.queue) >= k.room {
		k.overrun = true
		return
	}
	k.queue = append(k.queue, wire(uint32(36), u16s(msgError, 0), seq, uint32(1), uint32(-int32(e)), make([]byte, 16)))
}

func (k *answering) receive(ctx context.Context, _ time.Duration) ([]byte, error) {
	if k.overrun {
		k.overrun = false
		return nil, syscall.ENOBUFS
	}
	if len(k.queue) == 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, ErrSilent
	}
	b := k.queue[0]
	k.queue = k.queue[1:]
	return b, nil
}

// someOps are n operations that can be told apart.
func someOps(n int) []Op {
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Op{
			Verb: AddReal, Key: mustKey("tcp://10.1.0.10:30080"),
			RealKey: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 8080),
		}
	}
	return ops
}

// testFamily is the number of IPVS.
const testFamily = 0x21

func testWriter(k *answering) *writer {
	return &writer{link: k, family: testFamily, seq: ^uint32(0) - 2, maxBytes: maxBatchBytes, maxOps: maxBatchOps}
}

// check compares results by errno: nil for success.
func check(t *testing.T, ops []Op, got []error, want func(i int) error) {
	t.Helper()
	for i, err := range got {
		w := want(i)
		if w == nil && err == nil {
			continue
		}
		var op *OpError
		if !errors.As(err, &op) || !errors.Is(err, w) || op.Op != ops[i] {
			t.Errorf("operation %d: %v, want %v", i, err, w)
		}
	}
}

func TestAnswersGoToTheirOperations(t *testing.T) {
	k := &answering{errno: func(n int) syscall.Errno { return map[int]syscall.Errno{2: syscall.EEXIST, 5: syscall.ENOENT}[n] }}
	ops, results := someOps(7), make([]error, 7)
	n, err := testWriter(k).write(t.Context(), ops, results) // the sequence numbers wrap around
	if n != 7 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	check(t, ops, results, func(i int) error {
		return map[int]error{2: syscall.EEXIST, 5: syscall.ENOENT}[i]
	})
}

func TestAFailureOfTheLastOperationEndsTheBatch(t *testing.T) {
	k := &answering{errno: func(n int) syscall.Errno { return map[int]syscall.Errno{2: syscall.ESRCH}[n] }}
	ops, results := someOps(3), make([]error, 3)
	if _, err := testWriter(k).write(t.Context(), ops, results); err != nil {
		t.Fatal(err)
	}
	check(t, ops, results, func(i int) error { return map[int]error{2: syscall.ESRCH}[i] })
}

func TestLeftoversOfAnEarlierExchangeAreIgnored(t *testing.T) {
	k := &answering{}
	w := testWriter(k)
	k.answer(w.seq-1, syscall.EINVAL)
	k.answer(w.seq+3, syscall.EINVAL)
	k.before, k.queue = k.queue, nil
	ops, results := someOps(3), make([]error, 3)
	if _, err := w.write(t.Context(), ops, results); err != nil {
		t.Fatal(err)
	}
	check(t, ops, results, func(int) error { return nil })
}

func TestABatchIsNeitherLongerThanTheSendBufferNorMoreThanTheAnswersThatFit(t *testing.T) {
	for name, c := range map[string]struct{ bytes, ops int }{
		"by bytes":      {bytes: 1000, ops: maxBatchOps},
		"by operations": {bytes: maxBatchBytes, ops: 7},
		"one by one":    {bytes: 1, ops: 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := &answering{}
			w := testWriter(k)
			w.maxBytes, w.maxOps = c.bytes, c.ops
			ops := someOps(50)
			for rest := ops; len(rest) > 0; {
				n, err := w.write(t.Context(), rest, make([]error, len(rest)))
				if err != nil || n == 0 {
					t.Fatal(n, err)
				}
				rest = rest[n:]
			}
			if slices.Max(k.bytes) > c.bytes && slices.Max(k.batches) > 1 || slices.Max(k.batches) > c.ops {
				t.Errorf("batches of %v messages, %v bytes", k.batches, k.bytes)
			}
		})
	}
}

func TestALostAnswerIsUnknownAndNeitherSuccessNorFailure(t *testing.T) {
	all := func(int) syscall.Errno { return syscall.EEXIST }
	t.Run("when the receive buffer is full", func(t *testing.T) {
		k := &answering{errno: all, room: 4}
		ops, results := someOps(10), make([]error, 10)
		if _, err := testWriter(k).write(t.Context(), ops, results); err != nil {
			t.Fatalf("%v, but the socket is as good as new", err)
		}
		check(t, ops, results, func(i int) error {
			if i < 4 {
				return syscall.EEXIST
			}
			return ErrUnknown
		})
	})
	t.Run("when the acknowledgement came though", func(t *testing.T) {
		k := &answering{errno: func(n int) syscall.Errno { return map[int]syscall.Errno{1: syscall.EEXIST}[n] }}
		w := testWriter(k)
		ops, results := someOps(4), make([]error, 4)
		k.overrun = true
		if _, err := w.write(t.Context(), ops, results); err != nil {
			t.Fatal(err)
		}
		check(t, ops, results, func(i int) error { return []error{ErrUnknown, syscall.EEXIST, ErrUnknown, nil}[i] })
	})
	t.Run("when the kernel is silent", func(t *testing.T) {
		k := &answering{errno: func(n int) syscall.Errno { return map[int]syscall.Errno{1: syscall.EEXIST}[n] }, mute: true}
		ops, results := someOps(4), make([]error, 4)
		if _, err := testWriter(k).write(t.Context(), ops, results); !errors.Is(err, ErrUnknown) {
			t.Fatalf("%v, but the socket should be opened anew", err)
		}
		check(t, ops, results, func(i int) error { return []error{ErrUnknown, syscall.EEXIST, ErrUnknown, ErrUnknown}[i] })
	})
	t.Run("when the context ends before the answer", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ops, results := someOps(2), make([]error, 2)
		if _, err := testWriter(&answering{mute: true}).write(ctx, ops, results); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		check(t, ops, results, func(int) error { return ErrUnknown })
	})
}

func TestWhatCouldNotBeSentHasFailedAndIsNotUnknown(t *testing.T) {
	ops, results := someOps(3), make([]error, 3)
	if _, err := testWriter(&answering{refuse: syscall.EMSGSIZE}).write(t.Context(), ops, results); err != nil {
		t.Fatal(err)
	}
	check(t, ops, results, func(int) error { return syscall.EMSGSIZE })
}

func TestADumpEndsWithTheErrorOfTheKernel(t *testing.T) {
	k := &answering{errno: func(int) syscall.Errno { return syscall.EBUSY }}
	err := testWriter(k).dumpReals(t.Context(), frontend.Key{}, func(dest) { t.Error("a real server") })
	if !errors.Is(err, syscall.EBUSY) {
		t.Error(err)
	}
}
