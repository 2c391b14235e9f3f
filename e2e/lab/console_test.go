package lab

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheConsoleKeepsItsLastLines(t *testing.T) {
	c := &consoleTail{}
	if got := c.last(3); !strings.Contains(got, "nothing") {
		t.Errorf("empty: %q", got)
	}
	for i := range 5000 {
		fmt.Fprintf(c, "line %d\r\n", i)
	}
	if got, want := c.last(2), "  line 4998\n  line 4999"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(c.buf) > consoleKeep {
		t.Errorf("keeps %d bytes", len(c.buf))
	}
}
