package main

import (
	"testing"
	"time"
)

// Nothing is without a limit as long as nobody asks for that: net/http takes 0 for none.
func TestAnEndpointHasLimitsFromTheStart(t *testing.T) {
	l := defaultServeLimits()
	for name, d := range map[string]time.Duration{"header": l.header, "request": l.request, "answer": l.answer, "idle": l.idle} {
		if d <= 0 || d > 2*time.Minute {
			t.Errorf("%s: %s", name, d)
		}
	}
	// Clients of two endpoints, and what programs the kernel, have 1,024 file descriptors where nobody gave the agent more.
	if l.connections <= 0 || l.connections > 256 || l.headerBytes <= 0 || l.headerBytes > 64<<10 {
		t.Errorf("%d connections, %d bytes of header", l.connections, l.headerBytes)
	}
}
