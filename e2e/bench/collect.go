package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// collector takes the samples from the guest's output, a line each. It implements lab.Observer.
type collector struct {
	progress io.Writer
	run      *result.Run
	rest     []byte // a line that has not ended
	errs     []error
}

// Started implements lab.Observer.
func (c *collector) Started(int) {}

// Output implements lab.Observer.
func (c *collector) Output(_ int, s lab.Stream, data []byte) {
	if s == lab.Stderr {
		_, _ = c.progress.Write(data)
		return
	}
	c.rest = append(c.rest, data...)
	for {
		line, rest, whole := bytes.Cut(c.rest, []byte("\n"))
		if !whole {
			return
		}
		c.line(line)
		c.rest = rest
	}
}

// line takes one sample.
func (c *collector) line(line []byte) {
	var s result.Sample
	if err := json.Unmarshal(line, &s); err != nil {
		c.errs = append(c.errs, fmt.Errorf("the guest said %q: %w", line, err))
		return
	}
	c.run.Samples = append(c.run.Samples, s)
}

// flush takes what the guest said without an end of line.
func (c *collector) flush() {
	if len(c.rest) > 0 {
		c.line(c.rest)
		c.rest = nil
	}
}

// Exited implements lab.Observer.
func (c *collector) Exited(e lab.Exit) {
	if e.Error != "" {
		c.errs = append(c.errs, fmt.Errorf("run the guest's program: %s", e.Error))
	} else if e.Code != 0 {
		c.errs = append(c.errs, fmt.Errorf("not everything was measured (exit code %d): see above", e.Code))
	}
}
