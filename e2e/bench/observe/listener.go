package observe

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// listener keeps what it has read of kube-proxy's tables as it is, by the kernel's notifications, and tells who waits. The kernel
// sends them after a commit: what changed, and then the new generation.
type listener struct {
	file  *os.File
	ended chan struct{} // closed when nothing is heard any more

	mu      sync.Mutex
	rules   map[uint8]*ruleset
	loaded  map[frontend.Key]bool
	waiting map[*change]bool
}

// change is an endpoint that a frontend is to have.
type change struct {
	key      frontend.Key
	endpoint netip.AddrPort
	outcome  chan outcome // takes one
}

type outcome struct {
	at  time.Time
	err error
}

var (
	errLost  = errors.New("the kernel dropped notifications")
	errThere = errors.New("the endpoint is there already")
)

// newListener listens in the namespace of the thread.
func newListener() (*listener, error) {
	f, err := listen()
	if err != nil {
		return nil, err
	}
	l := &listener{file: f, ended: make(chan struct{}), waiting: map[*change]bool{}}
	l.forget()
	go l.run()
	return l, nil
}

// forget drops what was read.
func (l *listener) forget() {
	l.rules = map[uint8]*ruleset{unix.NFPROTO_IPV4: newRuleset(), unix.NFPROTO_IPV6: newRuleset()}
	l.loaded = map[frontend.Key]bool{}
}

func (l *listener) close() error {
	err := l.file.Close()
	<-l.ended
	return err
}

// prepare reads what a frontend leads to. That may be newer than notifications that are still to be read, which does no harm: whatever they
// add that is no more, later ones take away.
func (l *listener) prepare(s *nfSocket, key frontend.Key, endpoint netip.AddrPort) (func(context.Context) (time.Time, error), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rules[family(key)]
	if !l.loaded[key] {
		take := func(m message) error {
			r.apply(m)
			return nil
		}
		if err := s.nodePort(family(key), key, take); err != nil {
			return nil, err
		}
		if err := s.set(family(key), nodePortIPSet, take); err != nil {
			return nil, err
		}
		if err := s.load(family(key), r, r.external(key), depth, true); err != nil {
			return nil, err
		}
		l.loaded[key] = true
	}
	if r.has(key, endpoint) {
		return nil, errThere
	}
	c := &change{key, endpoint, make(chan outcome, 1)}
	l.waiting[c] = true
	return func(ctx context.Context) (time.Time, error) { return l.wait(ctx, c) }, nil
}

func (l *listener) wait(ctx context.Context, c *change) (time.Time, error) {
	defer func() {
		l.mu.Lock()
		delete(l.waiting, c)
		l.mu.Unlock()
	}()
	select {
	case o := <-c.outcome:
		return o.at, o.err
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	case <-l.ended:
		return time.Time{}, os.ErrClosed
	}
}

// run hears until the file is closed.
func (l *listener) run() {
	defer close(l.ended)
	buf := make([]byte, answerSize)
	for {
		n, err := l.file.Read(buf)
		at := time.Now()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			l.lose()
		case err != nil:
			return
		default:
			l.hear(buf[:n], at)
		}
	}
}

// lose gives up: a time that is late by what nobody knows is none.
func (l *listener) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
	for c := range l.waiting {
		l.tell(c, outcome{err: errLost})
	}
}

// hear takes notifications in. Those of one commit end with its generation.
func (l *listener) hear(b []byte, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(b) > 0 {
		h, payload, rest, err := cutMessage(b)
		if err != nil {
			return
		}
		b = rest
		m, ok := asMessage(h, payload)
		if !ok {
			continue
		}
		if m.kind != unix.NFT_MSG_NEWGEN {
			if r := l.rules[m.family]; r != nil {
				r.apply(m)
			}
			continue
		}
		for c := range l.waiting {
			if l.rules[family(c.key)].has(c.key, c.endpoint) {
				l.tell(c, outcome{at: at})
			}
		}
	}
}

func (l *listener) tell(c *change, o outcome) {
	c.outcome <- o
	delete(l.waiting, c)
}
