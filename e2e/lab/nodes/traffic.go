package nodes

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// askPatience bounds one request on a connection that is held.
const askPatience = 5 * time.Second

// traffic is what the host has under way.
type traffic struct {
	life context.Context // of loads and connections, which outlive the request that starts them
	host func(place string) (*topo.Host, error)

	mu          sync.Mutex
	last        int
	loads       map[int]*topo.Load
	connections map[int]net.Conn
}

func newTraffic(life context.Context, host func(string) (*topo.Host, error)) *traffic {
	return &traffic{life: life, host: host, loads: map[int]*topo.Load{}, connections: map[int]net.Conn{}}
}

func (t *traffic) ask(ctx context.Context, q Question) (Tally, error) {
	from, err := t.host(q.From)
	if err != nil {
		return Tally{}, err
	}
	return newTally(topo.Count(ctx, from, q.Protocol, q.To, q.Count)), nil
}

func (t *traffic) startLoad(_ context.Context, l Load) (int, error) {
	from, err := t.host(l.From)
	if err != nil {
		return 0, err
	}
	load := &topo.Load{From: from, Protocol: l.Protocol, To: l.To, Workers: l.Workers, Pause: l.Pause}
	load.Start(t.life)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	t.loads[t.last] = load
	return t.last, nil
}

func (t *traffic) load(number int) (*topo.Load, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.loads[number]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("there is no load %d", number)
}

func (t *traffic) loadTally(_ context.Context, number int) (Tally, error) {
	l, err := t.load(number)
	if err != nil {
		return Tally{}, err
	}
	return newTally(l.Tally()), nil
}

func (t *traffic) stopLoad(_ context.Context, number int) (Tally, error) {
	l, err := t.load(number)
	if err != nil {
		return Tally{}, err
	}
	t.mu.Lock()
	delete(t.loads, number)
	t.mu.Unlock()
	return newTally(l.Stop()), nil
}

func (t *traffic) hold(ctx context.Context, q Question) (int, error) {
	from, err := t.host(q.From)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	c, err := from.Dial(ctx, q.Protocol, q.To)
	if err != nil {
		return 0, fmt.Errorf("connect to %s from %s: %w", q.To, q.From, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	t.connections[t.last] = c
	return t.last, nil
}

func (t *traffic) askOn(_ context.Context, number int) (Tally, error) {
	t.mu.Lock()
	c := t.connections[number]
	t.mu.Unlock()
	if c == nil {
		return Tally{}, fmt.Errorf("there is no connection %d", number)
	}
	at := time.Now()
	err := c.SetDeadline(at.Add(askPatience))
	var a topo.Answer
	if err == nil {
		a, err = topo.AskOn(c)
	}
	if err != nil {
		return newTally(topo.Tally{Failures: []topo.Failure{{At: at, Err: err}}}), nil
	}
	return newTally(topo.Tally{Pods: map[string]int{a.Pod: 1}, Clients: map[netip.Addr]int{a.Client: 1}}), nil
}

func (t *traffic) release(_ context.Context, number int) error {
	t.mu.Lock()
	c := t.connections[number]
	delete(t.connections, number)
	t.mu.Unlock()
	if c == nil {
		return fmt.Errorf("there is no connection %d", number)
	}
	return c.Close()
}

// get sends a GET request on a connection of its own.
func (t *traffic) get(ctx context.Context, g Get) (Response, error) {
	from, err := t.host(g.From)
	if err != nil {
		return Response{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	u, err := url.Parse(g.URL)
	if err != nil {
		return Response{}, fmt.Errorf("get: %w", err)
	}
	to, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return Response{}, fmt.Errorf("get %s: %w", g.URL, err)
	}
	c, err := from.Dial(ctx, topo.TCP, to)
	if err != nil {
		return Response{}, fmt.Errorf("get %s from %s: %w", g.URL, g.From, err)
	}
	defer c.Close()
	response, err := getOn(ctx, c, g.URL)
	if err != nil {
		return Response{}, fmt.Errorf("get %s from %s: %w", g.URL, g.From, err)
	}
	return response, nil
}

func getOn(ctx context.Context, c net.Conn, url string) (Response, error) {
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Response{}, err
	}
	req.Close = true
	if err := req.Write(c); err != nil {
		return Response{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}, err
}
