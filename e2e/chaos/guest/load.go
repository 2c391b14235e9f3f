package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const (
	// patience with an answer to a datagram.
	patience = 3 * time.Second
	// again is when a datagram that was lost or refused is sent once more, from the same socket: resolvers wait as long or longer.
	again = 2 * time.Second
	// silence is how long a long-lived connection may be silent: an address that is away for a while makes TCP wait about as long again.
	silence = 20 * time.Second
	// echo is between two requests on a long-lived connection.
	echo = time.Second
)

// load is everything that the client asks.
type load struct {
	*runner
	stopping chan struct{}
	all      sync.WaitGroup
}

// startLoad begins to ask.
func (r *runner) startLoad(ctx context.Context) *load {
	l := &load{runner: r, stopping: make(chan struct{})}
	salt := 1000
	start := func(n int, f func(context.Context, *rand.Rand)) {
		for range n {
			random := r.random(salt)
			salt++
			l.all.Go(func() { f(ctx, random) })
		}
	}
	start(r.Workers, l.askTCP)
	start(r.Workers, l.askUDP)
	start(r.Flows, l.flow)
	start(r.Connections, l.connect)
	return l
}

// stop asks nothing new, and returns when all that is under way has ended.
func (l *load) stop() {
	close(l.stopping)
	l.all.Wait()
}

// rest waits until it is time for the next one, and says whether there is to be one.
func (l *load) rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.stopping:
		return false
	case <-ctx.Done():
		return false
	}
}

// askTCP asks one Service after the other, each on a new connection.
func (l *load) askTCP(ctx context.Context, random *rand.Rand) {
	for l.rest(ctx, l.Pause) {
		to := l.world.choose(random)
		protocol := []string{topo.TCP, topo.HTTP}[random.IntN(2)]
		q := ledger.Request{Protocol: ledger.TCP, Service: to.service, To: to.at, Tries: 1, Start: l.book.Now()}
		q.Sent = q.Start
		a, err := topo.Ask(ctx, l.world.net.Client, protocol, to.at)
		q.End, q.Pod, q.Err = l.book.Now(), a.Pod, text(err)
		l.book.Request(q)
	}
}

// askUDP asks one Service after the other, each from a new socket.
func (l *load) askUDP(ctx context.Context, random *rand.Rand) {
	for l.rest(ctx, l.Pause) {
		to := l.world.choose(random)
		c, err := l.world.net.Client.Dial(ctx, topo.UDP, to.at)
		if err != nil {
			l.fail("a socket of the client: %v", err)
			return
		}
		l.datagram(ctx, c, to)
		_ = c.Close()
	}
}

// flow asks a Service from one socket for as long as the Service has that port.
func (l *load) flow(ctx context.Context, random *rand.Rand) {
	for l.rest(ctx, l.Pause) {
		to := l.world.choose(random)
		c, err := l.world.net.Client.Dial(ctx, topo.UDP, to.at)
		if err != nil {
			l.fail("a socket of the client: %v", err)
			return
		}
		for l.world.has(to) && l.rest(ctx, 5*l.Pause) {
			l.datagram(ctx, c, to)
		}
		_ = c.Close()
	}
}

// datagram sends one, and once more if nothing comes back.
func (l *load) datagram(ctx context.Context, c net.Conn, to target) {
	q := ledger.Request{Protocol: ledger.UDP, Service: to.service, To: to.at, Start: l.book.Now()}
	for q.Tries < 2 {
		if q.Tries++; q.Tries > 1 {
			_ = pause(ctx, again-(l.book.Now()-q.Start))
		}
		q.Sent = l.book.Now()
		err := c.SetDeadline(time.Now().Add(patience))
		var a topo.Answer
		if err == nil {
			a, err = topo.AskOn(c)
		}
		if q.Pod, q.Err = a.Pod, text(err); err == nil {
			break
		}
	}
	q.End = l.book.Now()
	l.book.Request(q)
}

// connect keeps a connection to some Service, and opens another one when it has ended.
func (l *load) connect(ctx context.Context, random *rand.Rand) {
	for l.rest(ctx, time.Duration(random.Int64N(int64(echo)))) {
		to := l.world.choose(random)
		q := ledger.Request{Protocol: ledger.TCP, Service: to.service, To: to.at, Tries: 1, Start: l.book.Now()}
		q.Sent = q.Start
		c, err := l.world.net.Client.Dial(ctx, topo.TCP, to.at)
		var a topo.Answer
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			a, err = topo.AskOn(c)
		}
		q.End, q.Pod, q.Err = l.book.Now(), a.Pod, text(err)
		l.book.Request(q)
		if err == nil {
			l.keep(ctx, c, ledger.Connection{From: q.Start, Heard: q.End, Service: to.service, At: to.at, Pod: a.Pod}, lifetime(random))
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

// lifetime is a minute or two for half of them, and the whole run for the others.
func lifetime(random *rand.Rand) time.Duration {
	if random.IntN(2) == 0 {
		return ledger.Never
	}
	return 20*time.Second + time.Duration(random.Int64N(int64(100*time.Second)))
}

// keep asks on a connection each second until its life is over.
func (l *load) keep(ctx context.Context, conn net.Conn, c ledger.Connection, life time.Duration) {
	for l.rest(ctx, echo) && l.book.Now()-c.From < life {
		c.Sent = l.book.Now()
		err := conn.SetDeadline(time.Now().Add(silence))
		var a topo.Answer
		if err == nil {
			a, err = topo.AskOn(conn)
		}
		if err == nil && a.Pod != c.Pod {
			err = errors.New("it is answered by " + a.Pod)
		}
		if err != nil {
			c.Err, c.Timeout = err.Error(), errors.Is(err, os.ErrDeadlineExceeded)
			break
		}
		c.Heard = l.book.Now()
		c.Echoes++
	}
	c.To = l.book.Now()
	l.book.Connection(c)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
