package main

import (
	"fmt"
	"os"
	"strings"
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

// What docs/security.md promises of the endpoints is what is in force. net/http adds 4 KiB to what it is told of headers.
func TestTheLimitsThatAreDocumentedAreThoseInForce(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	l := defaultServeLimits()
	for _, want := range []string{
		fmt.Sprintf("after %.0f s for a header, %.0f s for a body, %.0f minutes for an answer", l.header.Seconds(), l.request.Seconds(), l.answer.Minutes()),
		fmt.Sprintf("%d on each; the oldest makes room", l.connections),
		fmt.Sprintf("1,000 a second that say nothing leave a connection %d ms", l.connections),
		fmt.Sprintf("slower than %d newcomers", l.connections),
		fmt.Sprintf("431 beyond %d KiB", l.headerBytes>>10+4),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/security.md does not say %q", want)
		}
	}
}
