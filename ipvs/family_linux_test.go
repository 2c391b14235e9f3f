package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// newFamily is another number than that of testWriter: module ip_vs was unloaded and loaded.
const newFamily = testFamily + 3

// schedulers is a virtual server that can be made, and one whose scheduler the kernel lacks.
func schedulers() []Op {
	ops := someOps(3)
	ops[0] = Op{Verb: AddVirtual, Key: mustKey("tcp://10.1.0.10:30080"), Virtual: VirtualServer{Scheduler: "wlc"}}
	ops[1] = Op{Verb: AddVirtual, Key: mustKey("tcp://10.1.0.10:30081"), Virtual: VirtualServer{Scheduler: "nosuch"}}
	return ops
}

func TestWhatCameWithAnOldNumberOfIPVSIsSentAgain(t *testing.T) {
	k := &answering{family: newFamily, errno: func(n int) syscall.Errno { return map[int]syscall.Errno{1: syscall.ENOENT}[n] }}
	w := testWriter(k)
	ops, results := schedulers(), make([]error, 3)
	if n, err := w.write(t.Context(), ops, results); n != 3 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	check(t, ops, results, func(i int) error { return map[int]error{1: syscall.ENOENT}[i] })
	if !IsUnknownScheduler(results[1]) || IsUnknownScheduler(results[0]) {
		t.Errorf("%v and %v, want one scheduler that is unknown", results[0], results[1])
	}
	if _, err := w.write(t.Context(), ops[:1], results[:1]); err != nil || !slices.Equal(k.batches, []int{3, 3, 1}) {
		t.Errorf("%v, batches of %v: what was sent again was all, and once", err, k.batches)
	}
}

func TestWhatIPVSItselfDoesNotKnowIsNotSentAgain(t *testing.T) {
	k := &answering{errno: func(n int) syscall.Errno { return map[int]syscall.Errno{1: syscall.ENOENT}[n] }}
	ops, results := schedulers(), make([]error, 3)
	if n, err := testWriter(k).write(t.Context(), ops, results); n != 3 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	check(t, ops, results, func(i int) error { return map[int]error{1: syscall.ENOENT}[i] })
	if !slices.Equal(k.batches, []int{3}) {
		t.Errorf("batches of %v, want one of 3", k.batches)
	}
}

func TestWithoutIPVSNoSchedulerIsTakenForMissing(t *testing.T) {
	ops, results := schedulers(), make([]error, 3)
	_, err := testWriter(&answering{absent: true}).write(t.Context(), ops, results)
	if !errors.Is(err, ErrNoIPVS) {
		t.Errorf("%v, want %v and another socket", err, ErrNoIPVS)
	}
	check(t, ops, results, func(int) error { return ErrNoIPVS })
	for _, err := range results {
		if IsUnknownScheduler(err) || IsGone(err) {
			t.Errorf("%v is taken for a scheduler, or a real server, that the kernel lacks", err)
		}
	}
}

// call is one by a session of its own, whose link is k. What it gives up is a real socket.
func call(t *testing.T, k *answering, f func(w *writer) error) error {
	t.Helper()
	sock, err := openSocket()
	if err != nil {
		t.Fatal(err)
	}
	s := session{turn: make(chan struct{}, 1), sock: sock, writer: testWriter(k)}
	t.Cleanup(func() {
		if s.sock != nil {
			s.sock.close()
		}
	})
	return s.inTurn(t.Context(), func() error { return f(s.writer) })
}

func TestWhatIsAskedWithAnOldNumberOfIPVSIsAskedAgain(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, w *writer) error{
		"the virtual servers": func(ctx context.Context, w *writer) error {
			return w.dumpVirtuals(ctx, func(frontend.Key, VirtualServer) {})
		},
		"the real servers of one": func(ctx context.Context, w *writer) error { return w.dumpReals(ctx, frontend.Key{}, func(dest) {}) },
		"the connections of one": func(ctx context.Context, w *writer) error {
			_, err := w.sameReals(ctx, frontend.Key{}, nil, func(netip.AddrPort, Connections) {})
			return err
		},
		"the timeouts": func(ctx context.Context, w *writer) error { _, err := w.timeouts(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			// Dumps end with a message of their own; here all end as the timeouts do.
			k := &answering{family: newFamily, always: true}
			if err := call(t, k, func(w *writer) error { return ask(t.Context(), w) }); err != nil || !slices.Equal(k.batches, []int{1, 1}) {
				t.Errorf("%v after messages %v, want an answer to the second", err, k.batches)
			}
			absent := &answering{absent: true}
			if err := call(t, absent, func(w *writer) error { return ask(t.Context(), w) }); !errors.Is(err, ErrNoIPVS) || IsGone(err) {
				t.Errorf("%v, want %v", err, ErrNoIPVS)
			}
		})
	}
}

func TestWhoMeetsAModuleThatWasLoadedAnewIsTold(t *testing.T) {
	k := &answering{}
	told := 0
	s := session{turn: make(chan struct{}, 1), writer: testWriter(k), renewed: func() { told++ }, sock: &socket{}}
	h := &handle{session: s}
	write := func(want int) {
		t.Helper()
		if err := h.Do(t.Context(), someOps(1))[0]; err != nil || told != want {
			t.Errorf("%v, told %d times, want %d", err, told, want)
		}
	}
	write(0)
	k.family = newFamily
	write(1)
	write(1)
	h.writer = testWriter(k) // a socket that was opened again
	h.writer.family, k.family = newFamily+1, newFamily+1
	write(2)
}

func TestAVirtualServerIsNotGoneBecauseIPVSGoesByAnotherNumber(t *testing.T) {
	k := &answering{family: newFamily, errno: func(n int) syscall.Errno { return []syscall.Errno{0, syscall.ESRCH}[n] }, always: true}
	err := call(t, k, func(w *writer) error {
		_, err := w.get(t.Context(), mustKey("tcp://10.1.0.10:30080"), func(dest) {})
		return err
	})
	if !errors.Is(err, syscall.ESRCH) || !slices.Equal(k.batches, []int{2, 2}) {
		t.Errorf("%v after messages %v, want what IPVS itself says", err, k.batches)
	}
}
