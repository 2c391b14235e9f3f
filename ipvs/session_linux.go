package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/vishvananda/netns"
)

// session is what a handle and a reader of counters each hold open in one network namespace.
type session struct {
	ns netns.NsHandle
	// turn is held during a call: a socket carries one exchange at a time.
	turn   chan struct{}
	closed bool

	sock   *socket // nil after an exchange that was given up, until the next call
	writer *writer
	proc   io.ReadSeekCloser // /proc/net/ip_vs of the namespace; nil where the kernel has none
}

// newSession is a session in which nothing is open yet.
func newSession(o Options) (session, error) {
	ns, err := openNamespace(o.Namespace)
	return session{ns: ns, turn: make(chan struct{}, 1)}, err
}

// open runs in the namespace of the session and opens what is not open.
func (s *session) open() error {
	if s.sock == nil {
		if err := s.openSocket(); err != nil {
			return err
		}
	}
	if s.proc == nil {
		// The file follows the namespace of the thread that opens it, whoever reads it then.
		f, err := os.Open("/proc/thread-self/net/ip_vs")
		switch {
		case err == nil:
			s.proc = f
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

func (s *session) openSocket() error {
	sock, err := openSocket()
	if err != nil {
		return err
	}
	w, err := newWriter(sock)
	if err != nil {
		sock.close()
		return err
	}
	s.sock, s.writer = sock, w
	return nil
}

// newWriter is a writer to the IPVS of the socket's namespace.
func newWriter(s *socket) (*writer, error) {
	family, err := lookUpFamily(context.Background(), s, familyName)
	if err != nil {
		return nil, err
	}
	bytes, ops, err := s.batchLimits()
	if err != nil {
		return nil, err
	}
	return &writer{link: s, family: family, seq: 1, maxBytes: bytes, maxOps: ops}, nil
}

// begin waits for the caller's turn. The call ends with end.
func (s *session) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.closed {
		s.end()
		return os.ErrClosed
	}
	return nil
}

// reopen opens anew, in a call that has begun, what an earlier one had to give up. When that fails, the call has ended.
func (s *session) reopen(open func() error) error {
	if err := inNamespace(s.ns, open); err != nil {
		s.end()
		return fmt.Errorf("open again: %w", err)
	}
	return nil
}

func (s *session) end() { <-s.turn }

// dropSocket makes the next call open a new socket: an exchange was given up in its midst.
func (s *session) dropSocket() {
	s.sock.close()
	s.sock = nil
}

// finish waits for the call under way and closes, once.
func (s *session) finish(close func() error) error {
	s.turn <- struct{}{}
	defer s.end()
	if s.closed {
		return os.ErrClosed
	}
	s.closed = true
	return close()
}

// close closes what is open.
func (s *session) close() error {
	if s.sock != nil {
		s.sock.close()
	}
	var errs []error
	if s.proc != nil {
		errs = append(errs, s.proc.Close())
	}
	return errors.Join(append(errs, s.ns.Close())...)
}

// readProc hands /proc/net/ip_vs to read from its beginning; fs.ErrNotExist where the kernel has no such file.
func (s *session) readProc(read func(io.Reader) error) error {
	if s.proc == nil {
		return fmt.Errorf("/proc/net/ip_vs: %w", fs.ErrNotExist)
	}
	if _, err := s.proc.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := read(s.proc); err != nil {
		return fmt.Errorf("/proc/net/ip_vs: %w", err)
	}
	return nil
}
