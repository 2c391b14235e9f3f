package main

import (
	"container/list"
	"net"
	"sync"
)

// crowded has so many connections at most. The oldest makes room for the next: clients that hold connections and say nothing do not
// keep a kubelet from asking whether the agent lives, which would end it, as they would if the next had to wait.
type crowded struct {
	net.Listener
	most int

	mu   sync.Mutex
	open list.List // of *crowdedConn, the oldest first
}

// Accept is that of net.Listener.
func (l *crowded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	next := &crowdedConn{Conn: c, of: l}
	if oldest := l.enter(next); oldest != nil {
		_ = oldest.Close()
	}
	return next, nil
}

// enter counts a connection, and returns the one that has to go for it.
func (l *crowded) enter(next *crowdedConn) (oldest *crowdedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open.Len() >= l.most {
		oldest = l.open.Front().Value.(*crowdedConn)
	}
	next.place = l.open.PushBack(next)
	return oldest
}

// leave forgets a connection, also one that has left.
func (l *crowded) leave(c *crowdedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open.Remove(c.place)
}

// crowdedConn gives its place back when it is closed.
type crowdedConn struct {
	net.Conn
	of    *crowded
	place *list.Element
}

// Close is that of net.Conn.
func (c *crowdedConn) Close() error {
	c.of.leave(c)
	return c.Conn.Close()
}
