package main

import (
	"errors"
	"net"
)

// lasting is a listener that ends when it is closed and not before. net/http ends with an error of accept that does not call itself
// temporary, such as ENOMEM or ENOBUFS, and all of the agent would end with it. It tries again after 5 ms, and less and less often down
// to once a second, with those that do.
type lasting struct{ net.Listener }

// Accept is that of net.Listener.
func (l lasting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return nil, passingError{err}
	}
	return c, err
}

// passingError is a net.Error that net/http tries again after.
type passingError struct{ error }

// Timeout is that of net.Error.
func (passingError) Timeout() bool { return false }

// Temporary is that of net.Error.
func (passingError) Temporary() bool { return true }

// Unwrap is for errors.Is.
func (e passingError) Unwrap() error { return e.error }
