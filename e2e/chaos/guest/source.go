package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/gauge"
	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// source is the agent's way to the API server, which can be cut. Who changes objects has another way.
type source struct {
	gauge *gauge.Gauge
	tap   *tap

	patience  time.Duration   // stallPatience
	rewatched []time.Duration // how long the agent took to watch again after each cut
	withheld  []int           // how many bytes each stall held back that came to its end
}

func newSource(ctx context.Context, config *rest.Config, node *topo.Host) (*source, error) {
	g, err := gauge.New(config, "")
	if err != nil {
		return nil, err
	}
	l, err := node.Listen(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
	if err != nil {
		return nil, err
	}
	s := &source{gauge: g, tap: &tap{Listener: l, conns: map[net.Conn]bool{}}, patience: stallPatience}
	go func() { _ = g.Serve(s.tap) }()
	if err := os.WriteFile(job.Kubeconfig, gauge.Kubeconfig(l.Addr()), 0o600); err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	return s, nil
}

func (s *source) close() error { return s.gauge.Close() }

// rewatchPatience is how long the agent may take to watch again: those who follow an API server try again after up to 30 s.
const rewatchPatience = 50 * time.Second

// cut refuses connections and breaks those there are, for a while, and returns when the agent watches again.
func (s *source) cut(ctx context.Context, d time.Duration) error {
	s.tap.set(refusing)
	_ = pause(ctx, d)
	before := s.watches()
	s.tap.set(passing)
	begin := time.Now()
	for {
		now := s.watches()
		if now[0] > before[0] && now[1] > before[1] {
			s.rewatched = append(s.rewatched, time.Since(begin))
			return nil
		}
		if time.Since(begin) > rewatchPatience {
			return fmt.Errorf("the agent did not watch within %v after its source was back", rewatchPatience)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stallPatience is how much longer a stall may take in which nothing happens: the agent may be away, for two seconds and a start, and
// something is changed each second or so.
const stallPatience = 20 * time.Second

// stall lets nothing pass for a while: connections stay. One in which neither side says anything is none, so it goes on until something is
// held back.
func (s *source) stall(ctx context.Context, d time.Duration) {
	s.tap.set(stalling)
	defer s.tap.set(passing)
	err := pause(ctx, d)
	for begin := time.Now(); err == nil && s.tap.withheld() == 0 && time.Since(begin) < s.patience; {
		err = pause(ctx, 20*time.Millisecond)
	}
	if err == nil { // else it was broken off
		s.withheld = append(s.withheld, s.tap.withheld())
	}
}

func (s *source) watches() [2]int {
	n := s.gauge.Traffic().Requests
	return [2]int{n["WATCH services"], n["WATCH endpointslices"]}
}

// What a tap does.
type tapMode int

const (
	passing tapMode = iota
	refusing
	stalling
)

// tap is a listener that can be closed for a while without its port being lost.
type tap struct {
	net.Listener

	mu     sync.Mutex
	mode   tapMode
	opened chan struct{} // closed when stalling ends; nil if it does not stall
	held   int           // bytes that were to pass since it stalls, or did so last
	conns  map[net.Conn]bool
}

func (t *tap) set(m tapMode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mode = m
	if t.opened != nil {
		close(t.opened)
		t.opened = nil
	}
	switch m {
	case refusing:
		for c := range t.conns {
			reset(c)
		}
	case stalling:
		t.opened, t.held = make(chan struct{}), 0
	case passing:
	}
}

// Accept implements net.Listener.
func (t *tap) Accept() (net.Conn, error) {
	for {
		c, err := t.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		refused := t.mode == refusing
		if !refused {
			t.conns[c] = true
		}
		t.mu.Unlock()
		if !refused {
			return &tapped{Conn: c, tap: t}, nil
		}
		reset(c)
	}
}

// reset ends a connection as somebody does who knows nothing of it.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// pass returns when so many bytes may pass, which is when the tap does not stall.
func (t *tap) pass(n int) {
	t.mu.Lock()
	opened := t.opened
	if opened != nil {
		t.held += n
	}
	t.mu.Unlock()
	if opened != nil {
		<-opened
	}
}

// withheld is how many bytes the stall of now, or the last one, has held back.
func (t *tap) withheld() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

// tapped is a connection through a tap.
type tapped struct {
	net.Conn
	tap *tap
}

// Read implements net.Conn.
func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.pass(n)
	return n, err
}

// Write implements net.Conn.
func (c *tapped) Write(b []byte) (int, error) {
	c.tap.pass(len(b))
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *tapped) Close() error {
	c.tap.mu.Lock()
	delete(c.tap.conns, c.Conn)
	c.tap.mu.Unlock()
	return c.Conn.Close()
}
