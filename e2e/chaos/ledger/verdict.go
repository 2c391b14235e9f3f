package ledger

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Requests are counts of one protocol.
type Requests struct {
	Sent, Answered int
	Retried        int            // answered, and not at the first try
	Failed         int            // those that count
	Apart          map[string]int // failed, and do not count, by reason
	ApartAll       map[string]int // of all that were sent, those to which a reason applies
}

// Counted is how many had to be answered.
func (r *Requests) Counted() int {
	n := r.Sent
	for _, apart := range r.ApartAll {
		n -= apart
	}
	return n
}

// Connections are counts of long-lived ones.
type Connections struct {
	Opened, Echoes int
	WithPod        int // ended with their pods
	WithService    int // ended with the drain timeout after their Service
	ByClient       int
	WithAddress    int // ended after they had asked while their address was not on the node
	Cut            int
	Longest        time.Duration
}

// Kind of a broken promise.
type Kind string

// Kinds.
const (
	Failed Kind = "a request failed"
	Cut    Kind = "a connection was cut"
	Stray  Kind = "a pod was asked that had left"
	Late   Kind = "a new connection came to a pod that terminates"
	Wrong  Kind = "somebody answered who is no endpoint of the Service"
)

// Broken is a promise that was not kept.
type Broken struct {
	At     time.Duration
	Kind   Kind
	What   string
	Before []Event // what was done within 3 s
}

// Verdict is what came of a run.
type Verdict struct {
	TCP, UDP    Requests
	Connections Connections
	Stray       int      // requests to pods that had left
	Late        int      // new connections of TCP to pods that terminated
	Wrong       int      // answers of others than the Service's pods
	Missing     int      // requests of TCP that count, and failed after their virtual server was deleted by hand
	Broken      []Broken // the first of them
	// Total is how many promises were broken.
	Total int
	// AgentAway and SourceAway are how often and how long in all.
	AgentAway, SourceAway Outages
	Pods                  int // that stopped
	UnseenPods            int // of those, how many stopped before the agent could know
	Events                int
}

// Outages of somebody.
type Outages struct {
	Times      int
	Total, Max time.Duration
}

// Held says whether every promise was kept.
func (v *Verdict) Held() bool { return v.Total == 0 }

// clock is a time of the run for people.
func clock(d time.Duration) string {
	if d == Never {
		return "never"
	}
	return d.Round(time.Millisecond).String()
}

// String is for people: the first broken promises with what was done before each.
func (v *Verdict) String() string {
	var b strings.Builder
	for _, r := range []struct {
		name string
		n    Requests
	}{{"TCP", v.TCP}, {"UDP", v.UDP}} {
		fmt.Fprintf(&b, "%s: %d requests, %d answered (%d of them not at the first try), %d failed that count\n",
			r.name, r.n.Sent, r.n.Answered, r.n.Retried, r.n.Failed)
		for _, reason := range []string{Changing, NoAddr, Unseen} {
			if all := r.n.ApartAll[reason]; all > 0 {
				fmt.Fprintf(&b, "     apart: %d, of which %d failed: %s\n", all, r.n.Apart[reason], reason)
			}
		}
	}
	c := v.Connections
	fmt.Fprintf(&b, "long-lived connections: %d opened, %d answers on them, the longest lived %s; %d cut\n",
		c.Opened, c.Echoes, c.Longest.Round(time.Second), c.Cut)
	fmt.Fprintf(&b, "     %d ended with their pod, %d after the drain timeout, %d after they asked while their address was away, %d by the client\n",
		c.WithPod, c.WithService, c.WithAddress, c.ByClient)
	fmt.Fprintf(&b, "requests to pods that had left: %d; new connections to pods that terminated: %d; answers of others than the Service's pods: %d\n",
		v.Stray, v.Late, v.Wrong)
	fmt.Fprintf(&b, "pods that stopped: %d, %d of them before the agent could know\n", v.Pods, v.UnseenPods)
	fmt.Fprintf(&b, "agent away: %d times, %s in all, at most %s; source away: %d times, %s in all, at most %s\n",
		v.AgentAway.Times, clock(v.AgentAway.Total), clock(v.AgentAway.Max), v.SourceAway.Times, clock(v.SourceAway.Total), clock(v.SourceAway.Max))
	for i, broken := range v.Broken {
		if i == 10 {
			fmt.Fprintf(&b, "… and %d more\n", v.Total-i)
			break
		}
		fmt.Fprintf(&b, "BROKEN at %s: %s: %s\n", clock(broken.At), broken.Kind, broken.What)
		for _, e := range broken.Before {
			fmt.Fprintf(&b, "    %s before: %s\n", clock(broken.At-e.At), e.What)
		}
	}
	return b.String()
}

// Addresses that were away at some time, for a report.
func (b *Book) Addresses() map[netip.Addr]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := map[netip.Addr]int{}
	for addr, spans := range b.absent {
		n[addr] = len(spans)
	}
	return n
}
