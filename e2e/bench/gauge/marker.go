package gauge

import (
	"bytes"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// markers are those that somebody waits for.
type markers struct {
	some    atomic.Bool // spares the lock while nobody waits
	mu      sync.Mutex
	waiting []waiter
}

type waiter struct {
	marker []byte
	at     chan time.Time
}

func (m *markers) await(marker string) <-chan time.Time {
	w := waiter{[]byte(marker), make(chan time.Time, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, w)
	m.some.Store(true)
	return w.at
}

// take returns the waiters whose markers end in chunk, which follows tail, and forgets them; and the new tail: as many bytes as
// a marker can have in chunk without ending there.
func (m *markers) take(tail, chunk []byte) (found []waiter, newTail []byte) {
	if !m.some.Load() {
		return nil, tail[:0]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	longest := 0
	m.waiting = slices.DeleteFunc(m.waiting, func(w waiter) bool {
		if endsIn(chunk, tail, w.marker) {
			found = append(found, w)
			return true
		}
		longest = max(longest, len(w.marker)-1)
		return false
	})
	m.some.Store(len(m.waiting) > 0)
	tail = append(tail, chunk[max(0, len(chunk)-longest):]...)
	return found, append(tail[:0], tail[max(0, len(tail)-longest):]...)
}

// endsIn reports whether marker is in tail and chunk together, with an end in chunk: what has passed before somebody waited is not what he waits for.
func endsIn(chunk, tail, marker []byte) bool {
	if bytes.Contains(chunk, marker) {
		return true
	}
	part := len(marker) - 1
	if part <= 0 || len(tail) == 0 {
		return false
	}
	seam := append(slices.Clone(tail[max(0, len(tail)-part):]), chunk[:min(part, len(chunk))]...)
	return bytes.Contains(seam, marker)
}

// writer passes an answer on.
type writer struct {
	http.ResponseWriter
	bytes   *atomic.Uint64
	markers *markers // nil if this is no watch
	tail    []byte
	found   []waiter
	at      time.Time
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	if w.markers != nil {
		w.found, w.tail = w.markers.take(w.tail, p)
	}
	if w.found != nil {
		w.at = time.Now()
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes.Add(uint64(n))
	return n, err
}

// FlushError is what http.ResponseController calls after each write. Those who wait are told afterwards: where there is one processor, they would
// else run before the bytes are on their way.
func (w *writer) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	for _, f := range w.found {
		f.at <- w.at
	}
	w.found = nil
	return err
}
