package ipvs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netns"
)

// session is what a handle and a reader of counters each hold open in one network namespace.
type session struct {
	ns netns.NsHandle
	// turn is held during a call: a socket carries one exchange at a time.
	turn   chan struct{}
	closed bool

	family  uint16 // of IPVS in the call before
	renewed func() // see Options

	sock   *socket // nil after an exchange that was given up, until the next call
	writer *writer
}

// newSession is a session in which nothing is open yet.
func newSession(o Options) (session, error) {
	ns, err := openNamespace(o.Namespace)
	return session{ns: ns, turn: make(chan struct{}, 1)}, err
}

// openSocket runs in the namespace of the session.
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
	family, err := lookUpFamily(context.Background(), s, 1, familyName)
	if err != nil {
		return nil, err
	}
	bytes, ops, err := s.batchLimits()
	if err != nil {
		return nil, err
	}
	return &writer{link: s, family: family, seq: 2, maxBytes: bytes, maxOps: ops}, nil
}

// begin waits for the caller's turn and opens anew what an earlier call had to give up. The call ends with end.
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
	if s.sock != nil {
		return nil
	}
	if err := inNamespace(s.ns, s.openSocket); err != nil {
		s.end()
		return fmt.Errorf("open again: %w", err)
	}
	return nil
}

func (s *session) end() {
	if s.writer != nil && s.writer.family != s.family {
		if s.family != 0 && s.renewed != nil {
			s.renewed()
		}
		s.family = s.writer.family
	}
	<-s.turn
}

// inTurn makes a call in its turn, and once more if IPVS goes by another number than before. After any failure but that of a virtual
// server that does not exist, answers may be left over, so the next call opens another socket.
func (s *session) inTurn(ctx context.Context, call func() error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	err := call()
	if errors.Is(err, syscall.ENOENT) {
		renewed, lookErr := s.writer.renew(ctx)
		switch {
		case lookErr != nil:
			err = lookErr
		case renewed:
			err = call()
		}
	}
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		s.dropSocket()
	}
	return err
}

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
	return s.ns.Close()
}
