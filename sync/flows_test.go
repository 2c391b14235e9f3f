package sync

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// conntrack is a model of the kernel's UDP entries.
type conntrack struct {
	mu      stdsync.Mutex
	entries map[string]entry // by client
	err     error            // of each look
	takes   time.Duration    // each look
	looks   int
}

// entry is a flow to a frontend, and where its answers are expected from.
type entry struct {
	to      frontend.Key
	answers netip.AddrPort
}

func (c *conntrack) deleteStale(real map[frontend.Key][]netip.AddrPort) (int, error) {
	time.Sleep(c.takes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	if c.err != nil {
		return 0, c.err
	}
	before := len(c.entries)
	maps.DeleteFunc(c.entries, func(_ string, e entry) bool {
		addrs, asked := real[e.to]
		return asked && !slices.Contains(addrs, e.answers)
	})
	return before - len(c.entries), nil
}

// with adds the flow of a client.
func (c *conntrack) with(client string, to frontend.Key, answers string) *conntrack {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]entry{}
	}
	c.entries[client] = entry{to, netip.MustParseAddrPort(answers)}
	return c
}

func (c *conntrack) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *conntrack) looked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looks
}

// left compares the clients whose flows are known.
func (c *conntrack) left(t *testing.T, want ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(c.entries))); diff != "" {
		t.Errorf("the flows (-want +got):\n%s", diff)
	}
}

// knowing gives the reconciler a table of connections; no audits, so that a pass has its reason in the test.
func knowing(c *conntrack) func(*Config) {
	return func(config *Config) { config.DeleteStaleFlows, config.SyncPeriod = c.deleteStale, 24*time.Hour }
}

func dns(endpoints ...string) Service {
	s := service("dns", 30053, endpoints...)
	s.Ports[0].Protocol = frontend.UDP
	return s
}

func udp(addr string, port uint16) frontend.Key {
	return frontend.NewKey(netip.MustParseAddr(addr), frontend.UDP, port)
}

var toDNS = udp("10.1.0.10", 30053)

func TestFlowsToARemovedPodAreForgottenAndThoseToLivingPodsAreNot(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{}
		g := start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays, leaves, "10.244.1.9:8080"), web(stays, leaves))
		flows.with("gone", toDNS, leaves).with("alive", toDNS, stays).with("quiet", toDNS, "10.244.1.9:8080").
			with("other service", tcp("10.1.0.10", 30080), leaves).with("other address", udp("10.9.0.1", 30053), leaves)
		g.deliver(dns(stays, "10.244.1.9:8080 terminating"))
		g.expect("udp://10.1.0.10:30053 rr 10.244.1.2:8080*1 10.244.1.9:8080*0", "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
		flows.left(t, "alive", "other address", "other service", "quiet")
	})
}

func TestFlowsFromBeforeAVirtualServerAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := new(conntrack).with("early", toDNS, "10.1.0.10:30053").with("sent there by another proxy", toDNS, stays)
		g := start(t, kernel, nft, knowing(flows))
		g.serve()
		flows.left(t, "early", "sent there by another proxy")
		g.deliver(dns(stays))
		flows.left(t, "sent there by another proxy")
	})
}

func TestNobodyLooksAtFlowsWhenNoneCanBeStale(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{}
		g := start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays), web(stays, leaves))
		g.stop()
		flows.with("client", toDNS, stays)
		g = start(t, kernel, nft, knowing(flows), func(c *Config) { c.SyncPeriod = 30 * time.Second })
		g.serve(dns(stays), web(stays, leaves))
		looks := flows.looked()                      // one at the start: see below
		g.deliver(dns(stays, leaves))                // one comes
		g.deliver(web(stays))                        // TCP
		g.deliver(dns(stays, leaves+" terminating")) // weight 0
		g.deliver(gone("dns"))
		g.after(10 * time.Minute)
		if n := flows.looked() - looks; n != 0 {
			t.Errorf("conntrack was looked at %d times", n)
		}
		flows.left(t, "client")
	})
}

// It deleted the real server, and was killed before it had looked at the flows.
func TestWhatAnAgentLeftUndoneIsDoneByTheNext(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{}
		g := start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays), web(stays))
		g.stop()
		flows.with("alive", toDNS, stays).with("gone", toDNS, leaves).with("TCP", tcp("10.1.0.10", 30080), leaves)
		before := g.writes()
		g = start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays), web(stays))
		flows.left(t, "TCP", "alive")
		if n := g.writes() - before; n != 0 {
			t.Errorf("%d writes to IPVS and nftables", n)
		}
	})
}

func TestFlowsThatCouldNotBeForgottenAreTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := new(conntrack).with("early", toDNS, "10.1.0.10:30053")
		flows.err = errors.New("out of order")
		g := start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays))
		g.after(2 * time.Minute)
		if n := flows.looked(); n < 7 || n > 10 { // at 0, .5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5 … s
			t.Errorf("%d looks in two minutes", n)
		}
		if err := g.Status().Err; err != nil {
			t.Errorf("what is served well is called a failure: %v", err)
		}
		flows.fail(nil)
		g.after(lastRetry)
		flows.left(t)
	})
}

func TestLogTellsOnceThatFlowsCannotBeForgotten(t *testing.T) {
	r, src, addrs, lines := talkative(t)
	flows := &conntrack{err: errors.New("out of order")}
	r.DeleteStaleFlows = flows.deleteStale
	addrs.set("10.1.0.10")
	src.deliver(func(u *Update) { u.Services = []Service{dns(stays)} })
	count := func(text string) (n int) {
		for _, line := range *lines {
			if strings.Contains(line, text) {
				n++
			}
		}
		return n
	}
	for range 3 {
		r.flows.next = time.Time{}
		r.pass(t.Context())
	}
	if n := count("out of order"); n != 1 || flows.looked() != 3 {
		t.Errorf("%d lines on %d failures:\n%s", n, flows.looked(), strings.Join(*lines, "\n"))
	}
	flows.fail(nil)
	flows.with("early", toDNS, "10.1.0.10:30053")
	r.flows.next = time.Time{}
	r.pass(t.Context())
	if count("looked through again") != 1 || count(`"staleFlows"=1`) != 1 {
		t.Errorf("the end of it is not told:\n%s", strings.Join(*lines, "\n"))
	}
	looks := flows.looked()
	src.deliver(func(u *Update) { u.Services = []Service{dns(leaves)} })
	r.flows.next = time.Time{}
	r.pass(t.Context())
	if flows.looked() != looks+1 || count("looked through again") != 1 {
		t.Errorf("the end of it is told again, or nobody looked:\n%s", strings.Join(*lines, "\n"))
	}
}

func TestFlowsAreForgottenWhenTheAnswerToADeletionWasLost(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{}
		lost := ipvsfake.Fault{Verb: ipvs.DelReal, Err: ipvs.ErrUnknown, Done: true}
		g := start(t, kernel, nft, faulty(lost), knowing(flows))
		g.serve(dns(stays, leaves))
		flows.with("gone", toDNS, leaves)
		g.deliver(dns(stays))
		g.expect("udp://10.1.0.10:30053 rr 10.244.1.2:8080*1")
		flows.left(t)
	})
}

func TestFlowsOfAFrontendThatCannotBeReadAreLeftAloneUntilItCan(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{}
		silent := &mute{on: new(atomic.Bool)}
		lost := ipvsfake.Fault{Verb: ipvs.AddReal, Key: toDNS, Real: netip.MustParseAddrPort(leaves), Err: ipvs.ErrUnknown, Done: true}
		g := start(t, kernel, nft, faulty(lost), knowing(flows), func(c *Config) { silent.Handle = c.Kernel; c.Kernel = silent })
		other := func(endpoints ...string) Service {
			s := service("other", 30054, endpoints...)
			s.Ports[0].Protocol = frontend.UDP
			return s
		}
		g.serve(dns(stays), other(stays, leaves))
		looks := flows.looked()
		silent.on.Store(true)
		g.deliver(dns(stays, leaves)) // nobody knows whether it was added
		flows.with("new", toDNS, leaves).with("gone", udp("10.1.0.10", 30054), leaves)
		g.after(time.Minute)
		if n := flows.looked() - looks; n != 0 {
			t.Errorf("%d looks", n)
		}
		g.deliver(other(stays))
		flows.left(t, "new")
		silent.on.Store(false)
		g.after(time.Minute)
		flows.left(t, "new")
		if n := flows.looked() - looks; n != 2 {
			t.Errorf("%d looks, want one at the other frontend and one once it could be read", n)
		}
	})
}

func TestALongTableOfConnectionsTakesATenthOfTheTimeAtMost(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{takes: time.Second}
		g := start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays, leaves))
		g.after(time.Second)
		flows.with("gone", toDNS, leaves)
		for range 100 { // a change a second
			g.deliver(dns(stays))
			g.deliver(dns(stays, leaves))
			g.after(time.Second)
		}
		if n := flows.looked(); n < 9 || n > 11 {
			t.Errorf("%d looks of a second each in 100 s, want ten", n)
		}
		g.deliver(dns(stays))
		g.after(time.Minute)
		flows.left(t)
	})
}

func TestWhatWasPutOffIsDoneBeforeTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		flows := &conntrack{takes: time.Second}
		g := start(t, kernel, nft, knowing(flows))
		g.serve(dns(stays, leaves))
		g.after(2 * time.Second)
		flows.with("gone", toDNS, leaves)
		g.deliver(dns(stays))
		flows.left(t, "gone") // the last look was too short a while ago
		g.stop()
		flows.left(t)
	})
}
