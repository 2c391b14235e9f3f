package kindcluster

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// places implement suite.Probe: each place has an asker, and a load or connection belongs to the asker that began it.
type places struct {
	life  context.Context
	exec  execFunc
	podOn func(node string) (podName, error) // on the node's own network

	mu      sync.Mutex
	askers  map[string]*nodes.Remote // by place
	last    int
	handles map[int]handle
}

// handle is a load or a connection, by the number that its asker has for it. It stays when that has ended: its asker knows.
type handle struct {
	asker  *nodes.Remote
	number int
}

func newPlaces(life context.Context, exec execFunc, podOn func(string) (podName, error)) *places {
	here := nodes.NewAsker(life)
	outside := nodes.DialOver(func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		context.AfterFunc(life, func() { _ = b.Close() })
		go func() { _ = here.ServeConn(b) }() // ends with the connection
		return a, nil
	})
	return &places{
		life: life, exec: exec, podOn: podOn,
		askers: map[string]*nodes.Remote{suite.Outside: outside}, handles: map[int]handle{},
	}
}

// asker finds who asks from a place.
func (p *places) asker(place string) (*nodes.Remote, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.askers[place]; a != nil {
		return a, nil
	}
	namespace, name, isPod := strings.Cut(place, "/")
	pod := podName{namespace, name}
	if !isPod {
		var err error
		if pod, err = p.podOn(place); err != nil {
			return nil, err
		}
	}
	a := nodes.DialOver(func(context.Context) (net.Conn, error) { return p.exec.converse(p.life, pod), nil })
	p.askers[place] = a
	return a, nil
}

// keep gives a number to what an asker has begun.
func (p *places) keep(place string, begin func(*nodes.Remote) (int, error)) (int, error) {
	a, err := p.asker(place)
	if err != nil {
		return 0, err
	}
	number, err := begin(a)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.handles[p.last] = handle{a, number}
	return p.last, nil
}

func (p *places) handle(number int) (handle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, ok := p.handles[number]
	if !ok {
		return h, fmt.Errorf("there is no load or connection %d", number)
	}
	return h, nil
}

// Ask implements suite.Probe.
func (p *places) Ask(ctx context.Context, q suite.Question) (suite.Tally, error) {
	a, err := p.asker(q.From)
	if err != nil {
		return suite.Tally{}, err
	}
	return a.Ask(ctx, q)
}

// StartLoad implements suite.Probe.
func (p *places) StartLoad(ctx context.Context, l suite.Load) (int, error) {
	return p.keep(l.From, func(a *nodes.Remote) (int, error) { return a.StartLoad(ctx, l) })
}

// LoadTally implements suite.Probe.
func (p *places) LoadTally(ctx context.Context, load int) (suite.Tally, error) {
	h, err := p.handle(load)
	if err != nil {
		return suite.Tally{}, err
	}
	return h.asker.LoadTally(ctx, h.number)
}

// StopLoad implements suite.Probe.
func (p *places) StopLoad(ctx context.Context, load int) (suite.Tally, error) {
	h, err := p.handle(load)
	if err != nil {
		return suite.Tally{}, err
	}
	return h.asker.StopLoad(ctx, h.number)
}

// Hold implements suite.Probe.
func (p *places) Hold(ctx context.Context, q suite.Question) (int, error) {
	return p.keep(q.From, func(a *nodes.Remote) (int, error) { return a.Hold(ctx, q) })
}

// AskOn implements suite.Probe.
func (p *places) AskOn(ctx context.Context, connection int) (suite.Tally, error) {
	h, err := p.handle(connection)
	if err != nil {
		return suite.Tally{}, err
	}
	return h.asker.AskOn(ctx, h.number)
}

// Release implements suite.Probe.
func (p *places) Release(ctx context.Context, connection int) error {
	h, err := p.handle(connection)
	if err != nil {
		return err
	}
	return h.asker.Release(ctx, h.number)
}

// Get implements suite.Probe.
func (p *places) Get(ctx context.Context, g suite.Get) (suite.Response, error) {
	a, err := p.asker(g.From)
	if err != nil {
		return suite.Response{}, err
	}
	return a.Get(ctx, g)
}
