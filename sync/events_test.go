package sync

import (
	"slices"
	stdsync "sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// told is an Events that remembers.
type told struct {
	mu    stdsync.Mutex
	lines []string
}

func (e *told) Problem(id ServiceID, uid string, p Problem) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, id.String()+" "+uid+" "+string(p.Reason))
}

// expect compares what was told since the last call, sorted.
func (e *told) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(e.lines)
	if diff := cmp.Diff(want, e.lines); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
	e.lines = nil
}

func TestAuthorsAreToldOfNewProblemsOfTheirServicesAlone(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		events, s := &told{}, &sockets{}
		g := start(t, kernel, nft, fromNode, func(c *Config) { c.Events, c.HealthChecks = events, s })
		bad, six := service("bad", 30081, "10.244.1.3:80"), service("six", 30082)
		six.Families = IPv6
		bad.Problems = []Problem{
			{Object: "Service default/bad", Reason: Invalid, Message: "bad annotation"},
			{Object: "EndpointSlice default/bad-1", Reason: Invalid, Message: "bad address"},
		}
		s.take(syscall.EADDRINUSE, "10.1.0.10:32000")
		g.addresses.set("10.1.0.10")
		g.source.deliver(func(u *Update) { u.Problems = []Problem{{Object: "web.yaml", Reason: Invalid, Message: "bad file"}} })
		g.deliver(bad, six, web("10.244.1.2:80"), service("young", 30080), balanced("check", 30083, 32000))
		// young comes after web by name. That no address is chosen for six is the node's affair.
		events.expect(t, "at first", "default/bad uid-bad invalid", "default/check uid-check listen-failed", "default/young uid-young conflict")
		g.after(10 * time.Minute)
		events.expect(t, "while they stay")
		g.deliver(gone("web"))
		g.deliver(web("10.244.1.2:80"))
		events.expect(t, "when one is back", "default/young uid-young conflict")
		g.deliverNode() // nobody knows the node's pods, which is the node's affair too
		g.deliver(local("10.244.1.2:80"))
		if all := g.Status().Problems; !slices.ContainsFunc(all, func(p Problem) bool { return p.Reason == NoPodNetwork }) {
			t.Errorf("that is no problem: %v", all)
		}
		events.expect(t, "of pods that are not known")
	})
}

func TestFrontendThatTheKernelRefusesForAMomentIsNoEvent(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		events := &told{}
		g := start(t, kernel, nft, func(c *Config) { c.Events = events })
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g.serve(web("10.244.1.2:80"))
		g.after(time.Second)
		if len(g.Status().Problems) == 0 {
			t.Error("nothing failed")
		}
		events.expect(t, "a failing transaction")
	})
}
