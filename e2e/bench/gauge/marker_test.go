package gauge

import (
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	const marker, longer, shorter = "10.1.2.3", "a longer one, which does not come", "x.y"
	for _, c := range []struct {
		name          string
		before, after []string // others that are waited for
	}{
		{"alone", nil, nil},
		{"before a longer one", nil, []string{longer}},
		{"after a longer one", []string{longer}, nil},
		{"before a shorter one", nil, []string{shorter}},
		{"after a shorter one", []string{shorter}, nil},
	} {
		t.Run(c.name, func(t *testing.T) { isFoundWhereverItIsCut(t, marker, c.before, c.after) })
	}
}

func isFoundWhereverItIsCut(t *testing.T, marker string, before, after []string) {
	t.Helper()
	text := "before " + marker + " behind"
	end := strings.Index(text, marker) + len(marker)
	for cut := range text {
		for second := cut; second < len(text); second++ {
			var m markers
			var others []<-chan time.Time
			for _, other := range before {
				others = append(others, m.await(other))
			}
			seen := m.await(marker)
			for _, other := range after {
				others = append(others, m.await(other))
			}
			w := newWriter(&m)
			sent := 0
			for _, to := range []int{cut, second, len(text)} {
				send(t, w, text[sent:to])
				if got, want := told(seen), sent < end && to >= end; got != want {
					t.Fatalf("%q after %q: told %v, want %v", text[sent:to], text[:sent], got, want)
				}
				sent = to
			}
			if slices.ContainsFunc(others, told) {
				t.Fatal("another marker was seen")
			}
		}
	}
}

// slow is a connection that takes its time: what a write takes is part of what is measured.
type slow struct{ *httptest.ResponseRecorder }

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.ResponseRecorder.Write(p)
}

func TestTheTimeIsThatBeforeTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m markers
		w := newWriter(&m)
		w.ResponseWriter = slow{httptest.NewRecorder()}
		seen, began := m.await("10.1.2.3"), time.Now()
		send(t, w, "10.1.2.3")
		if got := (<-seen).Sub(began); got != 0 {
			t.Errorf("%v after the write began", got)
		}
	})
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
