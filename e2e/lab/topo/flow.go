package topo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// flowPatience is how long a Flow waits for an answer before it counts the datagram as lost. Packets do not leave the
// machine, so only a busy one delays an answer.
const flowPatience = 2 * time.Second

// Flow is a client that sends datagrams from one source port, each once the one before was answered or lost. A datagram
// that the other side refuses counts as lost.
type Flow struct {
	conn  net.Conn
	pause time.Duration

	mu    sync.Mutex
	tally Tally
	last  string // who answered the last datagram; empty if it was lost
	stop  context.CancelFunc
	ended chan struct{}
}

// StartFlow begins to send from a host, with a pause after each datagram. The flow ends with Stop.
func (h *Host) StartFlow(ctx context.Context, to netip.AddrPort, pause time.Duration) (*Flow, error) {
	c, err := h.Dial(ctx, UDP, to)
	if err != nil {
		return nil, fmt.Errorf("start flow from %s to %s: %w", h.Name, to, err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &Flow{conn: c, pause: pause, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		defer c.Close()
		for ctx.Err() == nil {
			f.send()
			select {
			case <-time.After(f.pause):
			case <-ctx.Done():
			}
		}
	}()
	return f, nil
}

func (f *Flow) send() {
	at := time.Now()
	err := f.conn.SetDeadline(at.Add(flowPatience))
	var a Answer
	if err == nil {
		a, err = AskOn(f.conn)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tally.add(at, a, err)
	f.last = a.Pod
}

// Source is the address and port that the flow sends from.
func (f *Flow) Source() netip.AddrPort { return f.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Last is the pod that answered the last datagram, empty if it was lost or none was sent yet.
func (f *Flow) Last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Tally returns the counts so far.
func (f *Flow) Tally() Tally {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tally.clone()
}

// Stop ends the flow after the datagram under way and returns the counts.
func (f *Flow) Stop() Tally {
	f.stop()
	<-f.ended
	return f.Tally()
}
