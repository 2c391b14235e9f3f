package sync

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// programs are those of a node: what listens, and the ports that none is given.
type programs struct {
	mu        stdsync.Mutex
	listening []Listener
	asked     int
	reserved  []string // what was asked to be reserved
	err       error    // of both
}

// on lets a Reconciler see them. Of those that listen it is told what it asks for, as on a node.
func (p *programs) on(c *Config) {
	c.Listeners = func(claimed func(frontend.Protocol, uint16) bool) ([]Listener, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		return slices.DeleteFunc(slices.Clone(p.listening), func(l Listener) bool { return !claimed(l.Protocol, l.Port) }), p.err
	}
	c.Reserve = func(ports *allocator.Ports) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.reserved = append(p.reserved, ports.String())
		return p.err
	}
}

func (p *programs) skip(c *Config) { p.on(c); c.PortConflict = PortConflictSkip }

func (p *programs) listen(all ...Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listening = all
}

func (p *programs) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// counts are since the last call.
func (p *programs) counts() (asked int, reserved []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, reserved = p.asked, p.reserved
	p.asked, p.reserved = 0, nil
	return asked, reserved
}

// standing is what the kernel has, without the endpoints.
func (g *rig) standing(want ...string) {
	g.t.Helper()
	var keys []string
	for _, key := range g.kernel.Table().Keys() {
		keys = append(keys, key.String())
	}
	same(g.t, "the kernel has", want, keys)
}

// others makes virtual servers of somebody else.
func others(t *testing.T, kernel *ipvsfake.Kernel, keys ...frontend.Key) {
	t.Helper()
	table := ipvs.Table{}
	for _, key := range keys {
		table[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "wlc"}}
	}
	if result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, table)); len(result.Failed) > 0 {
		t.Fatal(result.Failed)
	}
}

func deleteOthers(t *testing.T, kernel *ipvsfake.Kernel, keys ...frontend.Key) {
	t.Helper()
	if result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(kernel.Table().Only(keys), nil)); len(result.Failed) > 0 {
		t.Fatal(result.Failed)
	}
}

func TestAnExtraPortIsNeverWrittenOverAForeignVirtualServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		before bool // it is there when the agent starts; else it comes between two audits
	}{{"that was there before the agent", true}, {"that came between two audits", false}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				key, web := tcp(at1, 443), extra("web")
				if c.before {
					others(t, kernel, key)
				}
				g := start(t, kernel, nft)
				g.serve(service("web", 30443, "10.244.1.2:8080"))
				g.after(time.Second)
				if !c.before {
					others(t, kernel, key)
				}
				g.deliver(web)
				g.after(time.Minute)
				g.expect("tcp://10.1.0.10:443 wlc", "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1")
				if g.rules().Owned.Has(key) {
					t.Error("our table says that it is ours")
				}
				if p := g.Status().Problems; len(p) != 1 || p[0].Reason != PortInUse {
					t.Errorf("problems are %v, want one of its port", p)
				}
				deleteOthers(t, kernel, key)
				g.after(30 * time.Second)
				g.expect("tcp://10.1.0.10:443 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1")
				if p := g.Status().Problems; len(p) != 0 {
					t.Errorf("problems are %v", p)
				}
			})
		})
	}
}

func TestAForeignVirtualServerIsToldAtOnceWhereAnExtraPortIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = time.Hour })
		g.serve()
		others(t, kernel, tcp(at1, 443))
		g.deliver(extra("web"))
		g.after(5 * time.Second)
		if p := g.Status().Problems; len(p) != 1 || p[0].Reason != PortInUse {
			t.Errorf("problems are %v, want one of its port", p)
		}
	})
}

func TestAnExtraPortIsNotWrittenWhileNobodyKnowsWhoseItIs(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var blind stdsync.Map
		g := start(t, kernel, nft, func(c *Config) { c.Kernel = sometimesBlind{c.Kernel, &blind} })
		g.serve()
		others(t, kernel, tcp(at1, 443))
		blind.Store(true, true)
		g.deliver(extra("web"))
		g.after(5 * time.Second)
		g.expect("tcp://10.1.0.10:443 wlc", "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1")
		if g.Status().Err == nil {
			t.Error("nobody is told")
		}
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:443 wlc", "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1")
	})
}

// sometimesBlind cannot read single virtual servers.
type sometimesBlind struct {
	ipvs.Handle
	blind *stdsync.Map
}

func (k sometimesBlind) Get(ctx context.Context, key frontend.Key) (e ipvs.Entry, c map[netip.AddrPort]ipvs.Connections, err error) {
	if _, blind := k.blind.Load(true); blind && key.Port == 443 {
		return e, nil, errors.New("interrupted")
	}
	return k.Handle.Get(ctx, key)
}

func TestARestartKeepsAnExtraPortThatIsOurs(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p := &programs{}
		g := start(t, kernel, nft, p.skip)
		g.serve(extra("web"))
		g.stop()
		p.listen(listens("", 443, "late"), listens("", 30443, "late"))
		g = start(t, kernel, nft, p.skip)
		writes := g.writes()
		g.serve(extra("web"))
		g.after(5 * time.Minute)
		g.standing("tcp://10.1.0.10:443", "tcp://10.1.0.10:30443")
		if n := g.writes() - writes; n != 0 {
			t.Errorf("%d writes, want none", n)
		}
	})
}

func TestAPortThatWasGivenUpIsNotKeptFromProgramsByARestartLongAgo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p := &programs{}
		g := start(t, kernel, nft, p.skip)
		g.serve(extra("web"))
		g.stop()
		g = start(t, kernel, nft, p.skip)
		g.serve(extra("web"))
		g.deliver(gone("web"))
		g.after(10 * time.Minute)
		g.standing()
		p.listen(listens("", 443, "nginx"), listens("", 30443, "nginx"))
		g.deliver(extra("web"))
		g.after(time.Minute)
		g.standing()
	})
}

func TestAProgramThatListensAtTheStartHasItsPort(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p := &programs{}
		p.listen(listens("", 443, "nginx"))
		g := start(t, kernel, nft, p.skip)
		g.serve(extra("web"), service("other", 30081))
		g.standing("tcp://10.1.0.10:30081", "tcp://10.1.0.10:30443")
		p.listen(listens("", 443, "nginx"), listens("", 30082, "nginx"))
		g.deliver(service("new", 30082))
		g.standing("tcp://10.1.0.10:30081", "tcp://10.1.0.10:30443")
		p.listen()
		g.after(30 * time.Second)
		g.standing("tcp://10.1.0.10:443", "tcp://10.1.0.10:30081", "tcp://10.1.0.10:30082", "tcp://10.1.0.10:30443")
	})
}

func TestNobodyLooksForProgramsBetweenAuditsUnlessAPortIsClaimedAnew(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p := &programs{}
		p.listen(listens("", 30083, "nginx"))
		g := start(t, kernel, nft, p.skip)
		expect := func(what string, want int) {
			t.Helper()
			if n, _ := p.counts(); n != want {
				t.Errorf("%s: looked %d times, want %d", what, n, want)
			}
		}
		g.serve(web("10.244.1.2:8080"))
		expect("at the start", 1)
		g.deliver(web("10.244.1.2:8080", "10.244.1.3:8080"))
		expect("for another endpoint", 0)
		g.deliver(service("new", 30081))
		expect("for a new port", 1)
		g.deliver(younger(service("loser", 30081)))
		g.deliver(younger(service("loser", 30081, "10.244.1.2:8080")))
		expect("for the endpoints of one who has no port", 0)
		g.deliver(service("blocked", 30083))
		expect("for another new port", 1)
		g.deliver(service("blocked", 30083, "10.244.1.2:8080"))
		expect("for the endpoints of one who has to wait", 0)
		g.addresses.set(at1, "10.2.0.10")
		synctest.Wait()
		expect("for a new address", 1)
		g.deliver(gone("new"))
		expect("for one who takes over", 1)
		g.after(30*time.Second - time.Millisecond)
		expect("until the audit", 0)
		g.after(time.Millisecond)
		expect("for the audit", 1)
	})
}

func TestProgramsThatCannotBeListedAreToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p, told := &programs{}, &lines{}
		p.listen(listens("", 30080, "nginx"))
		g := start(t, kernel, nft, p.skip)
		g.log = funcr.New(told.add, funcr.Options{})
		g.serve(web())
		p.fail(errors.New("no sock_diag"))
		p.listen()
		g.after(10 * time.Minute)
		g.deliver(extra("new"))
		g.standing("tcp://10.1.0.10:30443") // what was known stands, and an extra port is not opened blindly
		if n := told.count("Programs that listen"); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
		p.fail(nil)
		g.after(time.Minute)
		all := []string{"tcp://10.1.0.10:443", "tcp://10.1.0.10:30080", "tcp://10.1.0.10:30443"}
		g.standing(all...)
		p.fail(errors.New("no sock_diag"))
		g.after(time.Minute)
		g.standing(all...)
		if n := told.count("Programs that listen"); n != 2 {
			t.Errorf("told %d times in all, want once more", n)
		}
	})
}

// lines are those of a log.
type lines struct {
	mu  stdsync.Mutex
	all []string
}

func (l *lines) add(_, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, args)
}

func (l *lines) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func TestPortsAreReservedWhenTheirClaimsChangeAndWithAudits(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p := &programs{}
		g := start(t, kernel, nft, p.on)
		expect := func(what string, want ...string) {
			t.Helper()
			_, got := p.counts()
			same(t, what, want, got)
		}
		g.serve(extra("web"))
		expect("at the start", "443,30443")
		g.deliver(withExtra(service("web", 30443, "10.244.1.2:8080", "10.244.1.3:8080"), 443))
		g.deliver(service("twin", 30443))
		expect("for endpoints, and another who claims the same")
		g.after(31 * time.Second)
		expect("with an audit", "443,30443")
		g.deliver(balanced("lb", 30444, 32000))
		expect("for new ports", "443,30443-30444,32000")
		g.deliver(gone("lb"))
		g.deliver(gone("twin"))
		expect("without them", "443,30443")
	})
}

func TestPortsThatCannotBeReservedAreToldOnceAndTriedAgainWithTheAudits(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p, told := &programs{}, &lines{}
		p.fail(errors.New("read-only file system"))
		g := start(t, kernel, nft, func(c *Config) { p.on(c); c.Listeners = nil })
		g.log = funcr.New(told.add, funcr.Options{})
		g.serve(web())
		g.standing("tcp://10.1.0.10:30080")
		g.deliver(web("10.244.1.2:8080"))
		g.after(95 * time.Second)
		if _, tries := p.counts(); len(tries) != 4 {
			t.Errorf("tried %d times in three audits and at the start, want 4", len(tries))
		}
		if n := told.count("are not reserved"); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
		p.fail(nil)
		g.after(31 * time.Second)
		if _, tries := p.counts(); len(tries) != 1 {
			t.Errorf("tried %d times in the next audit, want 1", len(tries))
		}
		p.fail(errors.New("read-only file system"))
		g.after(95 * time.Second)
		if n := told.count("are not reserved"); n != 2 {
			t.Errorf("told %d times in all, want once more for what failed anew", n)
		}
	})
}

func TestAQuestionIsAnsweredBetweenPasses(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		slow := &slowKernel{Handle: kernel, busy: make(chan struct{}), goOn: make(chan struct{})}
		g := start(t, kernel, nft, func(c *Config) { c.Kernel = slow })
		g.addresses.set(at1)
		g.source.deliver(func(u *Update) { u.Services = []Service{web("10.244.1.2:8080")} })
		<-slow.busy
		answers := make(chan []string, 2)
		ask := func(ctx context.Context) error {
			return g.Ask(ctx, func(s *State) { answers <- s.ViewPorts().rows() })
		}
		over := make(chan error, 1)
		go func() { over <- ask(t.Context()) }()
		synctest.Wait()
		if len(answers) != 0 {
			t.Error("answered in the middle of a pass")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ask(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that its time is over", err)
		}
		close(slow.goOn)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		same(t, "the answer", []string{"30080/tcp node port, static, web [10.1.0.10]"}, <-answers)
		g.stop()
		if err := ask(short); !errors.Is(err, context.DeadlineExceeded) || len(answers) != 0 {
			t.Errorf("after the end: error %v and %d answers", err, len(answers))
		}
	})
}

func TestAQuestionCostsNoPass(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web())
		g.after(time.Second)
		before := g.Counters().Passes
		for range 3 {
			if err := g.Ask(t.Context(), func(*State) {}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if after := g.Counters().Passes; after != before {
			t.Errorf("passes went from %v to %v", before, after)
		}
	})
}

// slowKernel stops the first pass that reads it until it may go on.
type slowKernel struct {
	ipvs.Handle
	once       stdsync.Once
	busy, goOn chan struct{}
}

func (k *slowKernel) List(ctx context.Context) (ipvs.Table, error) {
	k.once.Do(func() { close(k.busy); <-k.goOn })
	return k.Handle.List(ctx)
}

func TestAForeignVirtualServerIsLeftAloneThatComesWhileAnExtraPortWaits(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		key := tcp(at1, 443)
		g := start(t, kernel, nft)
		nft.SetFault(filtertest.Refuse(key))
		g.serve(extra("web"))
		g.after(20 * time.Second)
		others(t, kernel, key)
		g.after(11 * time.Second) // the audit comes before the next try
		nft.SetFault(nil)
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:443 wlc", "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1")
		g.deliver(gone("web"))
		g.after(10 * time.Minute)
		g.expect("tcp://10.1.0.10:443 wlc")
	})
}
