package suite

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// loading is a provider whose loads are numbers.
type loading struct {
	Provider
	started int
	stopped []int
}

func (p *loading) StartLoad(context.Context, Load) (int, error) {
	p.started++
	return p.started, nil
}

func (p *loading) StopLoad(_ context.Context, load int) (Tally, error) {
	if slices.Contains(p.stopped, load) {
		return Tally{}, errors.New("there is no such load")
	}
	p.stopped = append(p.stopped, load)
	return Tally{Pods: map[string]int{"pod": 1}}, nil
}

func TestALoadEndsWithItsCase(t *testing.T) {
	frontends := []Frontend{{At: netip.MustParseAddrPort("10.1.0.10:30080")}, {At: netip.MustParseAddrPort("10.2.0.10:30080")}}
	for name, f := range map[string]func(c *Case){
		"left":     func(c *Case) { c.Load(frontends...) },
		"unharmed": func(c *Case) { c.Unharmed(c.Load(frontends...)) },
	} {
		p := &loading{}
		t.Run(name, func(t *testing.T) { f(&Case{T: t, Provider: p}) })
		if slices.Sort(p.stopped); !slices.Equal(p.stopped, []int{1, 2}) {
			t.Errorf("%s: stopped %v", name, p.stopped)
		}
	}
}

func TestWhatACaseHasTakenIsGivenBackOnceHoweverItEnds(t *testing.T) {
	for name, end := range map[string]func(c *Case, now func()){
		"in time": func(_ *Case, now func()) { now() },
		"early":   func(*Case, func()) {},
	} {
		given := 0
		t.Run(name, func(t *testing.T) {
			c := &Case{T: t}
			end(c, c.Afterwards(func() error { given++; return nil }))
		})
		if given != 1 {
			t.Errorf("%s: given back %d times", name, given)
		}
	}
}
