package gauge

import (
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// told is what a channel has, without waiting.
func told(c <-chan time.Time) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func send(t *testing.T, w *writer, text string) {
	t.Helper()
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.FlushError(); err != nil {
		t.Fatal(err)
	}
}

func newWriter(m *markers) *writer {
	return &writer{ResponseWriter: httptest.NewRecorder(), bytes: new(atomic.Uint64), markers: m}
}

func TestAMarkerIsFoundWhereverItIsCut(t *testing.T) {
	const text, marker = "before 10.1.2.3 behind", "10.1.2.3"
	end := strings.Index(text, marker) + len(marker)
	for cut := range text {
		for second := cut; second < len(text); second++ {
			var m markers
			w := newWriter(&m)
			seen, other := m.await(marker), m.await("a longer one, which does not come")
			sent := 0
			for _, to := range []int{cut, second, len(text)} {
				send(t, w, text[sent:to])
				if got, want := told(seen), sent < end && to >= end; got != want {
					t.Fatalf("%q after %q: told %v, want %v", text[sent:to], text[:sent], got, want)
				}
				sent = to
			}
			if told(other) {
				t.Fatal("the other marker was seen")
			}
		}
	}
}

func TestWhatPassedBeforeIsNotWaitedFor(t *testing.T) {
	var m markers
	w := newWriter(&m)
	m.await("a longer marker keeps the tail")
	send(t, w, "10.1.2.3")
	seen := m.await("10.1.2.3")
	send(t, w, "something else")
	if told(seen) {
		t.Error("seen in what had passed")
	}
	send(t, w, "10.1.2.3")
	if !told(seen) {
		t.Error("not seen in what passed afterwards")
	}
}

func TestAMarkerIsToldOnceToEverybodyWhoWaits(t *testing.T) {
	var m markers
	w := newWriter(&m)
	one, two := m.await("x1"), m.await("x1")
	send(t, w, "x1")
	send(t, w, "x1")
	if !told(one) || !told(two) || told(one) || m.some.Load() {
		t.Error("want each told once, and nobody waiting")
	}
}

func TestMarkersAreFoundInTheStreamTheyAreIn(t *testing.T) {
	var m markers
	one, two := newWriter(&m), newWriter(&m)
	seen := m.await("10.1.2.3")
	send(t, one, "10.1")
	send(t, two, ".2.3")
	if told(seen) {
		t.Error("put together from two streams")
	}
	send(t, one, ".2.3")
	if !told(seen) {
		t.Error("not seen")
	}
}

func TestPassingAWatchOnDoesNotAllocateWhileNobodyWaits(t *testing.T) {
	var m markers
	var tail []byte
	chunk := []byte(strings.Repeat("x", 4096))
	if got := testing.AllocsPerRun(100, func() { _, tail = m.take(tail, chunk) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
