package suite

import (
	"fmt"
	"time"
)

// Running is a load under way.
type Running struct {
	c  *Case
	at Frontend
	id int
}

// Load starts to ask frontends from outside, with a fresh connection for each request, until Unharmed, or until the case
// ends.
func (c *Case) Load(frontends ...Frontend) []Running {
	c.Helper()
	c.mustBeSome(frontends)
	var all []Running
	for _, f := range frontends {
		id, err := c.StartLoad(c.ctx, Load{
			Question: Question{From: Outside, Protocol: f.Protocol, To: f.At}, Workers: 2, Pause: 20 * time.Millisecond,
		})
		c.Must(err)
		c.Cleanup(func() { _, _ = c.StopLoad(c.ctx, id) }) // one that Unharmed has ended is there no more
		all = append(all, Running{c, f, id})
	}
	return all
}

// Answered waits until each load has n more answers.
func (c *Case) Answered(loads []Running, n int) {
	c.Helper()
	for _, l := range loads {
		before, err := c.LoadTally(c.ctx, l.id)
		c.Must(err)
		c.Eventually("load on "+l.at.String(), func() error {
			now, err := c.LoadTally(c.ctx, l.id)
			if err == nil && now.Answers() < before.Answers()+n {
				err = fmt.Errorf("%d answers more, want %d: %v", now.Answers()-before.Answers(), n, now)
			}
			return err
		})
	}
}

// Unharmed ends loads, none of which may have lost a request.
func (c *Case) Unharmed(loads []Running) {
	c.Helper()
	for _, l := range loads {
		tally, err := c.StopLoad(c.ctx, l.id)
		c.Must(err)
		c.Logf("%s: %d requests", l.at, tally.Answers()+len(tally.Failures))
		if len(tally.Failures) > 0 || tally.Answers() == 0 {
			c.Errorf("%s: %v", l.at, tally)
		}
	}
}

// Connection is one that is kept open.
type Connection struct {
	c  *Case
	at Frontend
	id int
}

// Connect opens a connection from outside, which ends with the case.
func (c *Case) Connect(f Frontend) *Connection {
	c.Helper()
	id, err := c.Hold(c.ctx, Question{From: Outside, Protocol: f.Protocol, To: f.At})
	c.Must(err)
	c.Cleanup(func() {
		if err := c.Release(c.ctx, id); err != nil {
			c.Error(err)
		}
	})
	return &Connection{c, f, id}
}

// Ask asks on the connection and returns who answered.
func (h *Connection) Ask() string {
	h.c.Helper()
	tally, err := h.c.AskOn(h.c.ctx, h.id)
	h.c.Must(err)
	for pod := range tally.Pods {
		return pod
	}
	h.c.Fatalf("connection to %s: %v", h.at, tally)
	return ""
}
