package sync

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

func TestHealth(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const period = 30 * time.Second
	failed := errors.New("nft failed")
	for _, c := range []struct {
		name         string
		status       Status
		started      time.Time // of the pass under way
		alive, ready bool
		reason       string
	}{
		{"before any pass", Status{}, time.Time{}, true, false, "waiting for Services"},
		{"in the first pass", Status{}, now, true, false, "waiting for Services"},
		{"after a first pass that failed", Status{Err: failed, FailingSince: now}, time.Time{}, true, false, "nothing could be synced yet: nft failed"},
		{"synced", Status{Synced: ago(time.Hour)}, time.Time{}, true, true, ""},
		{"failing for a moment", Status{Synced: ago(time.Hour), Err: failed, FailingSince: ago(2 * period)}, time.Time{}, true, true, ""},
		{"failing for long", Status{Synced: ago(time.Hour), Err: failed, FailingSince: ago(2*period + 1)}, time.Time{}, true, false, "failing since 2025-12-31T23:58:59Z: nft failed"},
		{"in a slow pass", Status{Synced: ago(time.Hour)}, ago(stuckAfter), true, true, ""},
		{"nothing to go by", Status{Synced: ago(time.Hour), Starved: true}, time.Time{}, true, false, "cannot be read"},
		{"stuck", Status{Synced: ago(time.Hour)}, ago(stuckAfter + 1), false, false, "has not ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := New(logr.Discard(), Config{SyncPeriod: period})
			r.board.status, r.board.started = c.status, c.started
			h := r.Health(now)
			if h.Alive != c.alive || h.Ready != c.ready || !strings.Contains(h.Reason, c.reason) || (h.Reason == "") != (c.reason == "") || h.Synced != c.status.Synced {
				t.Errorf("have %+v, want alive %v, ready %v because of %q", h, c.alive, c.ready, c.reason)
			}
		})
	}
}

func TestAgentWithNothingToDoIsNotStuck(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = 24 * time.Hour })
		g.serve(web("10.244.1.2:8080"))
		g.after(23 * time.Hour)
		if h := g.Health(time.Now()); !h.Alive || !h.Ready {
			t.Errorf("have %+v", h)
		}
	})
}

func TestOneFailingServiceIsAProblemAndDoesNotMakeTheNodeUnhealthy(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Second)
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30081)))
		begin := time.Now()
		g.deliver(service("bad", 30081, "10.244.1.3:8080"))
		for range 10 {
			g.after(7 * time.Second)
			// A pass between two tries that finds nothing else wrong does not hide the failure.
			g.deliver(web("10.244.1.2:8080", "10.244.1.3:8080"))
			g.deliver(web("10.244.1.2:8080"))
			s := g.Status()
			if s.Err == nil || !s.FailingSince.IsZero() || !g.Health(time.Now()).Ready {
				t.Fatalf("after %s: error %v, failing since %s", time.Since(begin), s.Err, s.FailingSince)
			}
			if len(s.Problems) != 1 || s.Problems[0].Object != "Service default/bad" || s.Problems[0].Reason != KernelRefused {
				t.Fatalf("after %s: problems %v, want one of Service default/bad", time.Since(begin), s.Problems)
			}
		}
		if n := g.Counters(); n.FailedPasses == 0 || n.FailedPasses == n.Passes || n.FailedTransactions == 0 || n.FailedTransactions >= n.Transactions {
			t.Errorf("the counters are %+v", n)
		}
		nft.SetFault(nil)
		g.after(time.Minute)
		if s := g.Status(); s.Err != nil || len(s.Problems) != 0 || !s.Synced.After(begin) {
			t.Errorf("after the end: error %v, problems %v, synced %s", s.Err, s.Problems, s.Synced)
		}
	})
}

// There may be more of those that cannot go than of those that serve.
func TestServicesThatCannotBeRemovedDoNotMakeTheNodeUnhealthy(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"), service("one", 30081), service("two", 30082))
		g.after(time.Second)
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30081), tcp("10.1.0.10", 30082)))
		g.deliver(gone("one"), gone("two"))
		g.after(time.Hour)
		s := g.Status()
		if len(s.Problems) != 2 || s.Problems[0].Reason != KernelRefused {
			t.Fatalf("have the problems %v, want one for each of two virtual servers that cannot go", s.Problems)
		}
		if h := g.Health(time.Now()); !h.Ready || !s.FailingSince.IsZero() {
			t.Errorf("what is wanted is served, but the agent says %+v, failing since %s", h, s.FailingSince)
		}
	})
}

func TestTheLastServiceThatCannotBeRemovedDoesNotMakeTheNodeUnhealthy(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(service("one", 30081))
		g.after(time.Second)
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30081)))
		g.deliver(gone("one"))
		g.after(time.Hour)
		s := g.Status()
		if len(s.Problems) != 1 || s.Problems[0].Reason != KernelRefused {
			t.Fatalf("have the problems %v, want one for the virtual server that cannot go", s.Problems)
		}
		if h := g.Health(time.Now()); !h.Ready || !s.FailingSince.IsZero() {
			t.Errorf("nothing is wanted that is not served, but the agent says %+v, failing since %s", h, s.FailingSince)
		}
	})
}

func TestAFailureOfEverythingIsReportedFromTheFirstToTheLast(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		nft.SetFault(func(string) error { return errors.New("no nft here") })
		begin := time.Now()
		g.serve(web("10.244.1.2:8080"), service("other", 30081, "10.244.1.3:8080"))
		for range 10 {
			g.after(7 * time.Second)
			if s := g.Status(); s.Err == nil || s.FailingSince.IsZero() || s.FailingSince.Sub(begin) > time.Second || !s.Synced.IsZero() {
				t.Fatalf("after %s: error %v, failing since %s, synced %s", time.Since(begin), s.Err, s.FailingSince, s.Synced)
			}
			if h := g.Health(time.Now()); h.Ready || !h.Alive {
				t.Fatalf("after %s: %+v", time.Since(begin), h)
			}
		}
		nft.SetFault(nil)
		g.after(time.Minute)
		if s := g.Status(); s.Err != nil || !s.FailingSince.IsZero() || !g.Health(time.Now()).Ready {
			t.Errorf("after the end: error %v, failing since %s", s.Err, s.FailingSince)
		}
	})
}

func TestOperationsThatTheKernelRefusesAreCountedAndTriedLessAndLessOften(t *testing.T) {
	bubble(t, func(t *testing.T, _ *ipvsfake.Kernel, nft *filtertest.Fake) {
		broken := ipvsfake.New(ipvsfake.WithSchedulers("wlc")) // not even the default
		g := start(t, broken, nft)
		g.serve(web("10.244.1.2:8080"))
		g.after(time.Hour)
		// 0.5, 1, 2 ... 30 seconds, and then every 30 seconds.
		if n := g.Counters().Refused[ipvs.AddVirtual]; n < 115 || n > 130 {
			t.Errorf("%d tries in an hour, want one each 30 seconds and a few more", n)
		}
		if h := g.Health(time.Now()); h.Ready || !strings.Contains(h.Reason, "rr") {
			t.Errorf("nothing is served, but the agent says %+v", h)
		}
	})
}

func TestStatusCountsWhatTheKernelHas(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web(stays, leaves), service("dns", 30053, "10.244.1.3:53"))
		expect := func(when string, frontends, reals, leaving int) {
			t.Helper()
			if s := g.Status(); s.Frontends != frontends || s.RealServers != reals || s.Leaving != leaving {
				t.Errorf("%s: %d virtual servers, %d real servers, %d leaving; want %d, %d, %d",
					when, s.Frontends, s.RealServers, s.Leaving, frontends, reals, leaving)
			}
		}
		expect("at first", 2, 3, 0)
		if done := g.Counters().Done; done[ipvs.AddVirtual] != 2 || done[ipvs.AddReal] != 3 || len(done) != 2 {
			t.Errorf("operations counted: %v", done)
		}
		busy(kernel, 1)
		g.deliver(web())
		expect("while two leave", 2, 3, 2)
		busy(kernel, 0)
		g.after(10 * time.Second)
		expect("after they have left", 2, 1, 0)
		g.deliver(gone("web"), gone("dns"))
		g.after(10 * time.Second)
		expect("in the end", 0, 0, 0)
	})
}

// talkative is a reconciler whose passes the test makes itself, and what it logs.
func talkative(t *testing.T) (*Reconciler, *source, *addresses, *[]string) {
	t.Helper()
	spec, err := nodeaddr.ParseSpec([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
	src, addrs := newSource(), &addresses{changed: make(chan struct{}, 1)}
	return New(log, Config{
		Source: src, Addresses: addrs, Kernel: ipvsfake.New(), Filter: filter.New(filtertest.New(), filter.Options{}),
		NodePortAddresses: spec, Defaults: Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll}, SyncPeriod: time.Nanosecond,
	}), src, addrs, &lines
}

func TestLogTellsEachChangeOnceAndNothingWhenNothingChanges(t *testing.T) {
	r, src, addrs, lines := talkative(t)
	expect := func(when string, messages ...string) {
		t.Helper()
		r.pass(t.Context())
		if len(*lines) != len(messages) {
			t.Errorf("%s: %d lines, want %d:\n%s", when, len(*lines), len(messages), strings.Join(*lines, "\n"))
			messages = nil
		}
		for i, want := range messages {
			if !strings.Contains((*lines)[i], want) {
				t.Errorf("%s: line %q, want %q", when, (*lines)[i], want)
			}
		}
		*lines = nil
	}
	addrs.set("10.1.0.10")
	bad := web("10.244.1.2:8080")
	bad.Problems = []Problem{{Object: "Service default/web", Reason: Invalid, Message: "bad annotation"}}
	src.deliver(func(u *Update) { u.Services = []Service{bad} })
	expect("at first", "Serving addresses changed", `"bad annotation"`, `"Synced"`)
	expect("when nothing changes, audit and all")
	src.deliver(func(u *Update) { u.Services = []Service{web("10.244.1.2:8080")} })
	expect("when a problem is solved", `"Problem solved"`)
	src.deliver(func(u *Update) { u.Services = []Service{bad} })
	expect("when it is back", `"bad annotation"`)
	src.deliver(func(u *Update) { u.Services = []Service{web("10.244.1.3:8080")} })
	expect("when an endpoint changes", `"Problem solved"`, `"Synced"`)
	src.deliver(func(u *Update) { u.Problems = []Problem{{Object: "web.yaml", Reason: Invalid, Message: "bad file"}} })
	expect("when a file is bad", `"bad file"`)
	expect("while it stays bad")
}

func TestManyErrorsAreOneThatCounts(t *testing.T) {
	var errs []error
	for range 7 {
		errs = append(errs, errUnreadable)
	}
	if text := summarize(errs).Error(); strings.Count(text, "cannot be read") != 5 || !strings.Contains(text, "and 2 more") {
		t.Errorf("have %q", text)
	}
	if text := summarize(errs[:5]).Error(); strings.Contains(text, "more") {
		t.Errorf("have %q", text)
	}
}
