package healthcheck

import (
	"net"
	"sync"
)

// roomyListener closes connections for which there is no room among those of all listeners.
type roomyListener struct {
	net.Listener
	room chan struct{} // has a value for each connection that is open
}

func (l roomyListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &roomyConn{Conn: c, leave: func() { <-l.room }}, nil
		default:
			_ = c.Close()
		}
	}
}

// roomyConn gives its room back when it is closed.
type roomyConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *roomyConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
