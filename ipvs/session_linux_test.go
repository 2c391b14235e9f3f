package ipvs

import (
	"errors"
	"syscall"
	"testing"
)

// The next call has to open another socket: without, all calls would fail until something is read.
func TestASocketThatWasClosedIsGivenUp(t *testing.T) {
	sock, err := openSocket()
	if err != nil {
		t.Fatal(err)
	}
	h := &handle{session: session{turn: make(chan struct{}, 1), sock: sock, writer: &writer{link: sock, maxBytes: maxBatchBytes, maxOps: 2}}}
	sock.close()
	for i, err := range h.Do(t.Context(), someOps(5)) { // three batches, the last two of which nobody sends
		if !errors.Is(err, syscall.EBADF) {
			t.Errorf("operation %d: %v, want %v", i, err, syscall.EBADF)
		}
	}
	if h.sock != nil {
		t.Error("the handle keeps the socket")
	}
}
