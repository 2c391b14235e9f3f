package sync

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// executions counts the calls of our nftables table. A writing one is one run of nft, and up to three if it is about lists of
// clients; a reading one asks the kernel for everything.
type executions struct {
	Filter
	reads, writes int
}

func (e *executions) Read(ctx context.Context) (filter.State, error) {
	e.reads++
	return e.Filter.Read(ctx)
}

func (e *executions) Apply(ctx context.Context, c filter.Change) error {
	e.writes++
	return e.Filter.Apply(ctx, c)
}

func (e *executions) Replace(ctx context.Context, rules filter.Rules) error {
	e.writes++
	return e.Filter.Replace(ctx, rules)
}

func (e *executions) expect(t *testing.T, what string, reads, writes int) {
	t.Helper()
	if e.reads != reads || e.writes != writes {
		t.Errorf("%s: nftables read %d times and written %d times, want %d and %d", what, e.reads, e.writes, reads, writes)
	}
	e.reads, e.writes = 0, 0
}

// A run of nft costs more than all the messages of a hundred Services: starting takes one, starting again none, and a change of
// endpoints neither that nor a reading.
func TestNftRunsAsSeldomAsItCan(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var calls executions
		generation := uint32(1)
		counted := func(c *Config) {
			fromNode(c)
			calls.Filter, c.Filter = c.Filter, &calls
			c.Generation = func() (uint32, error) { return generation, nil }
		}
		services := []Service{local("10.244.2.2:8080")}
		for i := range 20 {
			services = append(services, service(fmt.Sprint("web-", i), uint16(30100+i), "10.244.1.2:8080"))
		}
		begin := func() *rig {
			g := start(t, kernel, nft, counted)
			g.addresses.set("10.1.0.10", "10.2.0.10")
			g.source.deliver(func(u *Update) {
				u.Node = &Node{Name: "node1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
				u.Services = services
			})
			g.after(0)
			return g
		}
		g := begin()
		calls.expect(t, "a cold start", 1, 1)
		if n := len(kernel.Table()); n != 42 {
			t.Errorf("%d frontends are served, want 42", n)
		}
		services[1] = service("web-0", 30100, "10.244.1.3:8080")
		g.deliver(services[1])
		calls.expect(t, "another endpoint", 0, 0)
		services = append(services, service("new", 30200, "10.244.1.2:8080"))
		g.deliver(services[21])
		calls.expect(t, "another Service on two addresses", 0, 1)
		g.stop()
		begin()
		calls.expect(t, "a start that finds everything", 1, 0)
	})
}

// What a start makes in one transaction is in force before the kernel serves anything.
func TestAFrontendIsNotServedBeforeTheTableIsThere(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		key := tcp("10.1.0.10", 30080)
		g := start(t, kernel, nft, func(c *Config) {
			c.Kernel = &witness{Handle: c.Kernel, saw: func(ipvs.Op) {
				state, err := filter.New(nft, filter.Options{}).Read(t.Context())
				if err != nil || !state.Intact || state.Rules.Sources[key] == nil || state.Rules.Masquerade[key] == filter.MasqueradeNone {
					t.Errorf("served although the table has %+v (%v)", state, err)
				}
			}}
		})
		nft.SetFault(func(string) error { return errors.New("busy") })
		g.serve(restricted(web(stays), "10.0.0.0/8"))
		g.expect()
		nft.SetFault(nil)
		g.after(auditRetry)
		g.expect("tcp://10.1.0.10:30080 rr " + stays + "*1")
	})
}

// One frontend that nft refuses holds itself alone, at the start as later.
func TestATableIsMadeWithoutTheFrontendThatIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g := start(t, kernel, nft)
		g.serve(web(stays))
		if state, err := filter.New(nft, filter.Options{}).Read(t.Context()); err != nil || !state.Intact {
			t.Errorf("the table is %+v (%v), want it made", state, err)
		}
		g.deliver(service("other", 30081, stays))
		g.expect("tcp://10.1.0.10:30081 rr " + stays + "*1")
	})
}
