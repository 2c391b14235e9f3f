package lab

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// consoleTail keeps the last lines of the serial console, for the day the guest dies.
type consoleTail struct {
	mu   sync.Mutex
	buf  []byte
	also io.Writer // gets everything as it comes, if not nil
}

const consoleKeep = 8 << 10

func (c *consoleTail) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, p...)
	if extra := len(c.buf) - consoleKeep; extra > 0 {
		c.buf = append(c.buf[:0], c.buf[extra:]...)
	}
	if c.also != nil {
		return c.also.Write(p)
	}
	return len(p), nil
}

// last returns the last n lines, indented, or a remark that there are none.
func (c *consoleTail) last(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.TrimSpace(string(bytes.ReplaceAll(c.buf, []byte("\r"), nil)))
	if text == "" {
		return "  (nothing on the console)"
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-n):]
	return "  " + strings.Join(lines, "\n  ")
}
