package datapath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const (
	// requestSize is that of a request and of its answer, in bytes.
	requestSize = 64
	// connections of a target stay open for requests.
	connections = 4
	// mostLatencies is how many are remembered: those of 500 ms at 5 µs each.
	mostLatencies = 100_000
)

// conn is both ends of a connection.
type conn struct{ client, server int }

// target is one of those that are compared: what a client asks, and the listener in the pod that is to answer.
type target struct {
	name     string
	client   *topo.Host
	at       netip.AddrPort
	listener int // of the pod; not the target's to close

	to     *address
	linger *unix.Linger
	open   []conn

	latencies []time.Duration
	count     uint64 // of requests
	packet    [2][requestSize]byte
}

func newTarget(name string, client *topo.Host, at netip.AddrPort, listener int) *target {
	return &target{
		name: name, client: client, at: at, listener: listener, to: newAddress(at), linger: &unix.Linger{Onoff: 1},
		latencies: make([]time.Duration, 0, mostLatencies),
	}
}

// dial opens the connections that stay.
func (t *target) dial() error {
	err := t.client.Do(func() error {
		for range connections {
			c, err := t.connect()
			if err != nil {
				return err
			}
			t.open = append(t.open, c)
			for _, fd := range []int{c.client, c.server} {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
					return os.NewSyscallError("setsockopt", err)
				}
			}
			if err := t.exchange(c); err != nil {
				return err
			}
		}
		return nil
	})
	return t.wrap(err)
}

// close ends the connections that stay.
func (t *target) close() {
	for _, c := range t.open {
		_ = t.reset(c)
	}
	t.open = nil
}

// requests asks on the open connections in turn until d has passed, each request once the one before was answered. It
// remembers latencies.
func (t *target) requests(d time.Duration) (perSecond float64, err error) {
	err = t.client.Do(func() error {
		start := time.Now()
		last, n := start, 0
		for last.Sub(start) < d {
			if err := t.exchange(t.open[n%len(t.open)]); err != nil {
				return err
			}
			now := time.Now()
			if len(t.latencies) < cap(t.latencies) { // nothing is allocated while it is measured
				t.latencies = append(t.latencies, now.Sub(last))
			}
			last = now
			n++
		}
		perSecond = float64(n) / last.Sub(start).Seconds()
		return nil
	})
	return perSecond, t.wrap(err)
}

// takeLatencies returns what requests remembers, in seconds and in the order of time, and has it forget that.
func (t *target) takeLatencies() []float64 {
	seconds := make([]float64, len(t.latencies))
	for i, l := range t.latencies {
		seconds[i] = l.Seconds()
	}
	t.latencies = t.latencies[:0]
	return seconds
}

// connects makes connections with one request each until d has passed.
func (t *target) connects(d time.Duration) (perSecond float64, err error) {
	err = t.client.Do(func() error {
		start := time.Now()
		last, n := start, 0
		for last.Sub(start) < d {
			c, err := t.connect()
			if err != nil {
				return err
			}
			if err := errors.Join(t.exchange(c), t.reset(c)); err != nil {
				return err
			}
			last = time.Now()
			n++
		}
		perSecond = float64(n) / last.Sub(start).Seconds()
		return nil
	})
	return perSecond, t.wrap(err)
}

// once makes a connection with one request.
func (t *target) once() error {
	err := t.client.Do(func() error {
		c, err := t.connect()
		if err != nil {
			return err
		}
		return errors.Join(t.exchange(c), t.reset(c))
	})
	return t.wrap(err)
}

// connect makes a connection, on a thread in the client's namespace.
func (t *target) connect() (conn, error) {
	client, err := sysSocket(t.at.Addr().Is4())
	if err != nil {
		return conn{}, os.NewSyscallError("socket", err)
	}
	if err := sysConnect(client, t.to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(client)
		return conn{}, os.NewSyscallError("connect", err)
	}
	server, err := accept(t.listener, client)
	if err != nil {
		_ = unix.Close(client)
		return conn{}, err
	}
	return conn{client, server}, nil
}

// exchange is a request and its answer.
func (t *target) exchange(c conn) error {
	request, answer := t.packet[0][:], t.packet[1][:]
	t.count++
	binary.NativeEndian.PutUint64(request, t.count)
	if err := send(c.client, request); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if err := receive(c.server, answer); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if !bytes.Equal(request, answer) {
		return errors.New("server: a request that the client did not send")
	}
	if err := send(c.server, answer); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if err := receive(c.client, answer); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

// reset ends a connection from the client's side, so that nobody waits for packets of it that are late.
func (t *target) reset(c conn) error {
	return errors.Join(os.NewSyscallError("setsockopt", sysReset(c.client, t.linger)),
		os.NewSyscallError("close", sysClose(c.client)), os.NewSyscallError("close", sysClose(c.server)))
}

func (t *target) wrap(err error) error {
	if err != nil {
		return fmt.Errorf("%s: ask %s: %w", t.name, t.at, err)
	}
	return nil
}
