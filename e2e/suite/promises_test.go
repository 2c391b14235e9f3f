package suite

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
)

// answering is a provider that has the next of these tallies to all that it is asked, and then the last one for ever.
type answering struct {
	Provider
	tallies []Tally
}

func (a *answering) next() (Tally, error) {
	t := a.tallies[0]
	if len(a.tallies) > 1 {
		a.tallies = a.tallies[1:]
	}
	return t, nil
}

func (a *answering) Ask(context.Context, Question) (Tally, error)  { return a.next() }
func (a *answering) LoadTally(context.Context, int) (Tally, error) { return a.next() }
func (a *answering) StopLoad(context.Context, int) (Tally, error)  { return a.next() }
func (a *answering) Hold(context.Context, Question) (int, error)   { return 0, nil }
func (a *answering) AskOn(context.Context, int) (Tally, error)     { return a.next() }
func (a *answering) StartLoad(context.Context, Load) (int, error)  { return 0, nil }
func (a *answering) Nodes() []Node {
	return []Node{{Name: "node", Chosen: []netip.Addr{netip.IPv6Loopback()}}}
}

func by(pods map[string]int, failures ...string) Tally { return Tally{Pods: pods, Failures: failures} }

// A promise that holds of anything is none.
func TestPromisesAreBrokenByWhatBreaksThem(t *testing.T) {
	both := map[string]int{"a": 2, "b": 2}
	at := []Frontend{{Node: "node", Protocol: TCP, At: netip.MustParseAddrPort("[::1]:30080")}}
	served := func(c *Case) { c.ServedBy(at, "a", "b") }
	silent := func(c *Case) { c.Silent(at) }
	refused := func(c *Case) { c.Refused(at) }
	unharmed := func(c *Case) { c.Unharmed(c.Load(at...)) }
	answered := func(c *Case) { c.Answered(c.Load(at...), 2) }
	held := func(c *Case) { (&Connection{c: c, at: at[0]}).Ask() }
	for _, p := range []struct {
		name    string
		promise func(*Case)
		tallies []Tally
		broken  bool
	}{
		{"served by both", served, []Tally{by(both)}, false},
		{"served by both at last", served, []Tally{by(nil, "refused"), by(map[string]int{"a": 4}), by(both)}, false},
		{"served by one", served, []Tally{by(map[string]int{"a": 4})}, true},
		{"served unevenly", served, []Tally{by(map[string]int{"a": 3, "b": 1})}, true},
		{"served by a stranger too", served, []Tally{by(map[string]int{"a": 2, "b": 2, "c": 1})}, true},
		{"served by a stranger instead", served, []Tally{by(map[string]int{"a": 2, "c": 2})}, true},
		{"served, with a failure", served, []Tally{by(both, "timeout")}, true},
		{"served by no pods", func(c *Case) { c.ServedBy(at) }, []Tally{by(nil)}, true},
		{"served nowhere", func(c *Case) { c.ServedBy(nil, "a", "b") }, []Tally{by(both)}, true},
		{"silent", silent, []Tally{by(nil, "refused")}, false},
		{"silent at last", silent, []Tally{by(both), by(nil, "refused")}, false},
		{"answered, not silent", silent, []Tally{by(map[string]int{"a": 1})}, true},
		{"silent nowhere", func(c *Case) { c.Silent(nil) }, []Tally{by(nil)}, true},
		{"refused", refused, []Tally{by(nil, "read: connection refused")}, false},
		{"lost, not refused", refused, []Tally{by(nil, "i/o timeout")}, true},
		{"answered, not refused", refused, []Tally{by(map[string]int{"a": 1})}, true},
		{"refused nowhere", func(c *Case) { c.Refused(nil) }, []Tally{by(nil, "connection refused")}, true},
		{"unharmed", unharmed, []Tally{by(both)}, false},
		{"one request lost", unharmed, []Tally{by(map[string]int{"a": 1000}, "timeout")}, true},
		{"no request sent", unharmed, []Tally{by(nil)}, true},
		{"load on nothing", func(c *Case) { c.Unharmed(c.Load()) }, []Tally{by(both)}, true},
		{"answered on and on", answered, []Tally{by(map[string]int{"a": 7}), by(map[string]int{"a": 8}), by(map[string]int{"a": 9})}, false},
		{"answered until now", answered, []Tally{by(map[string]int{"a": 7}), by(map[string]int{"a": 8})}, true},
		{"held", held, []Tally{by(map[string]int{"a": 1})}, false},
		{"held and lost", held, []Tally{by(nil, "reset")}, true},
	} {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if broken, _ := outcome(&answering{tallies: p.tallies}, p.promise); broken != p.broken {
					t.Errorf("broken: %v, want %v", broken, p.broken)
				}
			})
		})
	}
}

func TestFrontendsAreThoseOfThePortsThatAServiceHas(t *testing.T) {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: UDPPort, NodePort: 30053}, {Name: TCPPort}}}}
	c := &Case{T: t, Provider: &answering{}}
	if got := c.Frontends(s); len(got) != 1 || got[0].String() != "udp [::1]:30053 of node" {
		t.Errorf("%v", got)
	}
	if got := c.Frontends(s, "another"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

type judge struct {
	Provider
	verdict, closed error
}

func (j judge) Verdict() error { return j.verdict }
func (j judge) Close() error   { return j.closed }

func TestTheEndOfASuiteIsItsVerdictAndItsTraces(t *testing.T) {
	for want, j := range map[string]judge{
		"refused by RBAC": {verdict: errors.New("refused by RBAC")},
		"left behind":     {closed: errors.New("left behind")},
	} {
		s := &Suite{provider: j, watch: func() bool { return true }}
		if err := s.end(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
