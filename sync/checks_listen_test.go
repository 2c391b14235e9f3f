package sync

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	stdsync "sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/healthcheck"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// sockets is a HealthChecks whose addresses can be taken by somebody else.
type sockets struct {
	mu    stdsync.Mutex
	open  map[netip.AddrPort]healthcheck.Check
	taken map[netip.AddrPort]error
	tries int // to listen
	sets  int
}

func (s *sockets) Set(want map[netip.AddrPort]healthcheck.Check) map[netip.AddrPort]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets++
	failed := map[netip.AddrPort]error{}
	next := map[netip.AddrPort]healthcheck.Check{}
	for addr, check := range want {
		if _, open := s.open[addr]; !open {
			s.tries++
			if err := s.taken[addr]; err != nil {
				failed[addr] = fmt.Errorf("listen tcp %s: bind: %w", addr, err)
				continue
			}
		}
		next[addr] = check
	}
	s.open = next
	return failed
}

// take makes addresses fail from the next try on; a nil error frees them.
func (s *sockets) take(err error, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := maps.Clone(s.taken)
	if taken == nil {
		taken = map[netip.AddrPort]error{}
	}
	for _, text := range addrs {
		taken[netip.MustParseAddrPort(text)] = err
	}
	s.taken = taken
}

func (s *sockets) counts() (tries, sets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries, s.sets
}

// expect compares what is answered: "ADDRESS:PORT NAME COUNT", sorted.
func (s *sockets) expect(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for addr, c := range s.open {
		got = append(got, fmt.Sprintf("%s %s %d", addr, c.Name, c.LocalEndpoints))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answered (-want +got):\n%s", diff)
	}
}

// listening is a rig with sockets.
func listening(t *testing.T, test func(g *rig, s *sockets)) {
	t.Helper()
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		s := &sockets{}
		test(start(t, kernel, nft, func(c *Config) { c.HealthChecks, c.SyncPeriod = s, 24*time.Hour }), s)
	})
}

func TestHealthChecksFollowServicesAndAddresses(t *testing.T) {
	listening(t, func(g *rig, s *sockets) {
		g.serve(balanced("web", 30080, 32000, "10.244.1.2"), service("other", 30081, "10.244.1.3:80"))
		s.expect(g.t, "10.1.0.10:32000 web 1")
		g.deliver(balanced("web", 30080, 32000))
		s.expect(g.t, "10.1.0.10:32000 web 0")
		g.addresses.set("10.1.0.10", "10.2.0.10")
		synctest.Wait()
		s.expect(g.t, "10.1.0.10:32000 web 0", "10.2.0.10:32000 web 0")

		g.addresses.set("10.2.0.10")
		synctest.Wait()
		s.expect(g.t, "10.2.0.10:32000 web 0") // at once, while the virtual server has its grace
		if !slices.Contains(g.kernel.Table().Keys(), tcp("10.1.0.10", 30080)) {
			g.t.Error("the virtual server is gone before its grace is over")
		}
		g.addresses.set("10.1.0.10", "10.2.0.10")
		synctest.Wait()
		s.expect(g.t, "10.1.0.10:32000 web 0", "10.2.0.10:32000 web 0")

		_, before := s.counts()
		g.deliver(service("other", 30081, "10.244.1.4:80"))
		g.after(time.Hour)
		if _, sets := s.counts(); sets != before {
			g.t.Errorf("they were set %d times although nothing changed", sets-before)
		}
		g.deliver(gone("web"))
		s.expect(g.t)
	})
}

func TestPortThatSomebodyHasIsAProblemAndTriedUntilItIsFree(t *testing.T) {
	listening(t, func(g *rig, s *sockets) {
		g.addresses.set("10.1.0.10", "10.2.0.10", "fd01::10")
		s.take(syscall.EADDRINUSE, "10.1.0.10:32000", "[fd01::10]:32000")
		g.deliver(balanced("web", 30080, 32000, "10.244.1.2"))
		s.expect(g.t, "10.2.0.10:32000 web 1")
		want := []Problem{{
			Object: "Service default/web", Reason: ListenFailed,
			Message: "health check port 32000/tcp cannot be listened on at 10.1.0.10, fd01::10 (address already in use); " +
				"it is tried again: stop the program on this node that has the port, ss -ltnp 'sport = :32000' names it",
		}}
		if diff := cmp.Diff(want, g.Status().Problems); diff != "" {
			g.t.Errorf("problems (-want +got):\n%s", diff)
		}
		if h := g.Health(time.Now()); !h.Ready {
			g.t.Errorf("a port that somebody has makes the node unhealthy: %+v", h)
		}
		g.after(time.Hour)
		// 3 at first; 2 each after 0.5, 1, 2 ... 30 seconds, and then every 30 seconds.
		if n, _ := s.counts(); n < 230 || n > 260 {
			g.t.Errorf("%d tries in an hour, want two each 30 seconds and a few more", n)
		}
		s.take(nil, "10.1.0.10:32000", "[fd01::10]:32000")
		g.after(30 * time.Second)
		s.expect(g.t, "10.1.0.10:32000 web 1", "10.2.0.10:32000 web 1", "[fd01::10]:32000 web 0")
		if problems := g.Status().Problems; len(problems) != 0 {
			g.t.Errorf("problems: %v", problems)
		}
	})
}

// A change elsewhere tries it early; it must not put off the next try of its own.
func TestBusyNodeTriesAPortNoLaterThanAQuietOne(t *testing.T) {
	listening(t, func(g *rig, s *sockets) {
		s.take(syscall.EADDRINUSE, "10.1.0.10:32000")
		g.serve(balanced("web", 30080, 32000))
		for n := range 100 {
			g.deliver(balanced("other", 30081, 32001, []string{"10.244.1.2", "10.244.1.3"}[:n%3]...))
			g.after(100 * time.Millisecond)
		}
		s.take(nil, "10.1.0.10:32000")
		g.after(8 * time.Second) // after 10 s the waits are 0.5, 1, 2, 4, 8
		s.expect(g.t, "10.1.0.10:32000 web 0", "10.1.0.10:32001 other 0")
	})
}

func TestProblemNamesWhateverElseKeepsAPortFromBeingAnswered(t *testing.T) {
	listening(t, func(g *rig, s *sockets) {
		s.take(syscall.EACCES, "10.1.0.10:80")
		g.serve(balanced("web", 30080, 80))
		problems := g.Status().Problems
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "at 10.1.0.10 (permission denied)") {
			g.t.Errorf("problems: %v", problems)
		}
		g.deliver(gone("web"))
		if problems := g.Status().Problems; len(problems) != 0 {
			g.t.Errorf("once the Service is gone: %v", problems)
		}
	})
}

// The kernel may have closed one: see package healthcheck.
func TestHealthChecksAreLookedAfterOnceInASyncPeriod(t *testing.T) {
	listening(t, func(g *rig, s *sockets) {
		g.serve(balanced("web", 30080, 32000))
		_, before := s.counts()
		g.after(25 * time.Hour)
		if _, sets := s.counts(); sets != before+1 {
			g.t.Errorf("they were set %d times in a sync period", sets-before)
		}
	})
}
