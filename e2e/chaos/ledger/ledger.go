// Package ledger is the book of a chaos run, and its judge. Everything that was asked is written down with its outcome, and everything
// that was done to the cluster with its time; afterwards each failure is either excused by a rule, or a broken promise.
//
//	requests, long-lived connections ─┐
//	promises: from when to when a     ├─► Judge ─► counts, broken promises with what was done within the 3 s before
//	Service has which port            │
//	pods: told to go, left, stopped   │
//	agent away, source away ──────────┘
//
// The rules are those of somebody who sees the cluster from outside, and knows nothing of the agent but when its process ran:
//
//   - A change is known to the agent once the agent was ready, and its source reachable, for the propagation time without interruption
//     since the change was made; and when an agent becomes ready whose process began after the change, with its source there all the while.
//   - A request counts if its Service had that port all the while and its beginning was known, the address was on the node, and no
//     endpoint of the Service stopped before the agent could know that it was going. One that counts must be answered.
//   - A request that began after it was known that a pod had left must not come to this pod; nor a new connection of TCP once it
//     was known that the pod terminates.
//   - Who answers is a pod of the Service that was asked, unless the port was coming or going: it may have been another's.
//   - A long-lived connection ends with its pod, with the drain timeout after its Service went, or by the client. One that asked while its
//     address was not on the node is counted apart. Otherwise it was cut.
package ledger

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Never is when nothing happens.
const Never = time.Duration(math.MaxInt64)

// Span is a time of the run, from its start on.
type Span struct{ From, To time.Duration }

// meets says whether two times have a part in common.
func (s Span) meets(o Span) bool { return o.From < s.To && s.From < o.To }

// Event is something that was done to the cluster.
type Event struct {
	At   time.Duration
	What string
}

// Protocols of requests.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Time is a time of the run, from its start on.
type Time = time.Duration

// Request is a single one, each of TCP on a connection of its own.
type Request struct {
	Start, End time.Duration
	Sent       time.Duration // when the last try was sent
	Protocol   string
	Service    string
	To         netip.AddrPort
	Pod        string // who answered, "" if nobody did
	Tries      int
	Err        string
}

// Connection is one that lives long and asks all the while.
type Connection struct {
	From    time.Duration
	Sent    time.Duration // when it asked last
	Heard   time.Duration // when it had its last answer
	To      time.Duration
	Service string
	At      netip.AddrPort
	Pod     string
	Echoes  int
	Timeout bool   // it ended because nothing came back
	Err     string // "" if the client ended it
}

// Pod is an endpoint's life. Never is what has not happened.
type Pod struct {
	Name       string
	Deployment string
	Told       time.Duration // the API server had that it terminates
	Left       time.Duration // the API server had it in no slice any more
	Stopped    time.Duration // it began to refuse
}

// promise is that a Service has a port.
type promise struct {
	port uint16
	Span // From: the API server had it; To: it was about to be told otherwise
}

// service is what the book knows of one.
type service struct {
	deployment string
	promises   []promise
}

// Book is written while the run goes on, by many goroutines.
type Book struct {
	// Propagation is how long the agent has for a change while nothing is in its way.
	Propagation time.Duration
	// Drain is the agent's --drain-timeout.
	Drain time.Duration

	began time.Time

	mu          sync.Mutex
	requests    []Request
	connections []Connection
	events      []Event
	services    map[string]*service
	pods        map[string]*Pod
	absent      map[netip.Addr][]Span
	away        map[string][]Span // agent, source
	starts      []Span            // of the agent, until it is ready
	deleted     map[netip.AddrPort][]time.Duration
}

// New is a book that begins now.
func New(propagation, drain time.Duration) *Book {
	return &Book{
		Propagation: propagation, Drain: drain, began: time.Now(),
		services: map[string]*service{}, pods: map[string]*Pod{}, absent: map[netip.Addr][]Span{}, away: map[string][]Span{},
		deleted: map[netip.AddrPort][]time.Duration{},
	}
}

// Now is the time of the run.
func (b *Book) Now() time.Duration { return time.Since(b.began) }

// Did notes what is being done.
func (b *Book) Did(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, Event{b.Now(), what})
}

// Request notes one that has ended.
func (b *Book) Request(r Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, r)
}

// Connection notes one that has ended.
func (b *Book) Connection(c Connection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connections = append(b.connections, c)
}

// Promise notes that the API server has a Service on a port now.
func (b *Book) Promise(name, deployment string, port uint16) {
	b.promiseAt(b.Now(), name, deployment, port)
}

func (b *Book) promiseAt(at time.Duration, name, deployment string, port uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.services[name]
	if s == nil {
		s = &service{deployment: deployment}
		b.services[name] = s
	}
	s.promises = append(s.promises, promise{port, Span{at, Never}})
}

// Withdraw notes that the Service is about to go, or to get another port.
func (b *Book) Withdraw(name string) { b.withdrawAt(b.Now(), name) }

func (b *Book) withdrawAt(at time.Duration, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.services[name]; s != nil && len(s.promises) > 0 {
		s.promises[len(s.promises)-1].To = at
	}
}

// Pod notes what became of one, which f changes.
func (b *Book) Pod(name string, f func(p *Pod, now time.Duration)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pods[name]
	if p == nil {
		p = &Pod{Name: name, Told: Never, Left: Never, Stopped: Never}
		b.pods[name] = p
	}
	f(p, b.Now())
}

// Absent notes that an address is about to leave the node; the function that it returns, that it is back.
func (b *Book) Absent(addr netip.Addr) (back func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.absent[addr])
	b.absent[addr] = append(b.absent[addr], Span{b.Now(), Never})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.absent[addr][i].To = b.Now()
	}
}

// Deleted notes that a virtual server of TCP is about to be deleted by hand.
func (b *Book) Deleted(at netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted[at] = append(b.deleted[at], b.Now())
}

// Who can be away.
const (
	Agent  = "agent"
	Source = "source"
)

// Away notes that somebody is away from now on; the function that it returns, that he is back.
func (b *Book) Away(who string) (back func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.away[who])
	b.away[who] = append(b.away[who], Span{b.Now(), Never})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.away[who][i].To = b.Now()
	}
}

// Starting notes that the agent's process begins; the function that it returns, that it is ready.
func (b *Book) Starting() (ready func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.starts)
	b.starts = append(b.starts, Span{b.Now(), Never})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.starts[i].To = b.Now()
	}
}

// outages are the times at which the agent could learn nothing, in order.
func (b *Book) outages() []Span {
	all := slices.Concat(b.away[Agent], b.away[Source])
	slices.SortFunc(all, func(x, y Span) int { return int(min(1, max(-1, x.From-y.From))) })
	return all
}
