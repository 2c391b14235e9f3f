package sync

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// inPass says when the pass under way began.
type inPass func() time.Time

func (g *rig) passBegan() time.Time {
	g.board.mu.Lock()
	defer g.board.mu.Unlock()
	return g.board.started
}

// muteKernel is one that takes whatever comes and answers nothing while it is mute.
type muteKernel struct {
	ipvs.Handle
	mute  atomic.Bool
	pass  inPass
	asked map[time.Time]int // calls of each pass
}

func (m *muteKernel) silent() bool {
	if !m.mute.Load() {
		return false
	}
	m.asked[m.pass()]++
	time.Sleep(10 * time.Second)
	return true
}

func (m *muteKernel) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.VirtualServer, error) {
	if m.silent() {
		return nil, ipvs.ErrSilent
	}
	return m.Handle.Virtuals(ctx)
}

func (m *muteKernel) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	if m.silent() {
		return ipvs.Entry{}, nil, fmt.Errorf("ipvs: get %s: %w", key, ipvs.ErrSilent)
	}
	return m.Handle.Get(ctx, key)
}

func (m *muteKernel) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	if m.silent() {
		return false, ipvs.ErrSilent
	}
	return m.Handle.SameReals(ctx, key, reals, each)
}

func (m *muteKernel) Do(ctx context.Context, ops []ipvs.Op) []error {
	if !m.silent() {
		return m.Handle.Do(ctx, ops)
	}
	results := make([]error, len(ops))
	for i, op := range ops {
		results[i] = &ipvs.OpError{Op: op, Err: ipvs.ErrUnknown}
	}
	return results
}

func TestAKernelThatAnswersNothingIsAskedAFewTimesInAPass(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		m := &muteKernel{asked: map[time.Time]int{}}
		g := start(t, kernel, nft, func(c *Config) { m.Handle, c.Kernel = c.Kernel, m })
		m.pass = g.passBegan
		var before, after []Service
		for i := range 200 {
			name, port := fmt.Sprintf("s%d", i), uint16(30000+i)
			before = append(before, service(name, port, stays))
			after = append(after, withExtra(service(name, port, leaves), 1000+uint16(i))) // somebody else's virtual server may be there
		}
		g.serve(before...)
		m.mute.Store(true)
		g.deliver(after...)
		for range 60 {
			g.after(10 * time.Second)
			if h := g.Health(time.Now()); !h.Alive {
				t.Fatalf("not alive: %s", h.Reason)
			}
		}
		if len(m.asked) < 5 {
			t.Errorf("in ten minutes there were %d passes that asked the kernel", len(m.asked))
		}
		for began, n := range m.asked {
			if n > 10 {
				t.Errorf("the pass that began at %s asked %d times", began.Format(time.TimeOnly), n)
			}
		}
		m.mute.Store(false)
		g.after(2 * time.Minute)
		if err := g.Status().Err; err != nil {
			t.Errorf("long after the kernel answers again: %v", err)
		}
		if n := len(kernel.Table()); n != 400 {
			t.Errorf("%d virtual servers, want 400", n)
		}
	})
}

// hangingNft is one that is given up after a minute while it hangs.
type hangingNft struct {
	Filter
	hangs atomic.Bool
	pass  inPass
	runs  []time.Time // the passes of the runs that hung
}

func (h *hangingNft) run() error {
	if !h.hangs.Load() {
		return nil
	}
	h.runs = append(h.runs, h.pass())
	time.Sleep(time.Minute)
	return fmt.Errorf("nftables: changing table: %w", context.DeadlineExceeded)
}

func (h *hangingNft) Apply(ctx context.Context, c filter.Change) error {
	if err := h.run(); err != nil {
		return err
	}
	return h.Filter.Apply(ctx, c)
}

func (h *hangingNft) Replace(ctx context.Context, rules filter.Rules) error {
	if err := h.run(); err != nil {
		return err
	}
	return h.Filter.Replace(ctx, rules)
}

func TestAnNftThatHangsIsRunOnceInAPass(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		h := &hangingNft{}
		g := start(t, kernel, nft, func(c *Config) { h.Filter, c.Filter = c.Filter, h })
		h.pass = g.passBegan
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web(stays), service("dns", 30053, stays))
		h.hangs.Store(true)
		g.addresses.set("10.1.0.10")                         // an address that is away is written
		g.deliver(gone("dns"), service("new", 30090, stays)) // so is what goes, and what comes
		for range 30 {
			g.after(10 * time.Second)
			if health := g.Health(time.Now()); !health.Alive {
				t.Fatalf("not alive: %s", health.Reason)
			}
		}
		if len(h.runs) < 3 {
			t.Errorf("in five minutes nft was run %d times", len(h.runs))
		}
		if passes := slices.Compact(slices.Clone(h.runs)); len(passes) != len(h.runs) {
			t.Errorf("%d runs of nft hung in %d passes", len(h.runs), len(passes))
		}
		h.hangs.Store(false)
		g.after(2 * time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30090 rr 10.244.1.2:8080*1")
		if err := g.Status().Err; err != nil {
			t.Errorf("long after nft runs again: %v", err)
		}
	})
}
