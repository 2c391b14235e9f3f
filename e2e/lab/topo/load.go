package topo

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tally counts answers.
type Tally struct {
	Pods     map[string]int     // answers by pod
	Clients  map[netip.Addr]int // answers by the client address that the pod saw
	Failures []Failure
}

// Failure is a request without an answer.
type Failure struct {
	At  time.Time // when it was sent
	Err error
}

// Answers returns the number of requests that were answered.
func (t Tally) Answers() int {
	n := 0
	for _, c := range t.Pods {
		n += c
	}
	return n
}

// String lists the pods and the first failures.
func (t Tally) String() string {
	var b strings.Builder
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		fmt.Fprintf(&b, "%s: %d, ", pod, t.Pods[pod])
	}
	fmt.Fprintf(&b, "failures: %d", len(t.Failures))
	for i, f := range t.Failures {
		if i == 3 {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; %v", f.Err)
	}
	return b.String()
}

func (t *Tally) add(at time.Time, a Answer, err error) {
	if err != nil {
		t.Failures = append(t.Failures, Failure{at, err})
		return
	}
	if t.Pods == nil {
		t.Pods, t.Clients = map[string]int{}, map[netip.Addr]int{}
	}
	t.Pods[a.Pod]++
	t.Clients[a.Client]++
}

func (t Tally) clone() Tally {
	return Tally{maps.Clone(t.Pods), maps.Clone(t.Clients), slices.Clone(t.Failures)}
}

// Count sends n requests, one after the other, each on a fresh connection.
func Count(ctx context.Context, from *Host, protocol string, to netip.AddrPort, n int) Tally {
	var t Tally
	for range n {
		at := time.Now()
		a, err := Ask(ctx, from, protocol, to)
		t.add(at, a, err)
	}
	return t
}

// Load sends requests until it is stopped.
type Load struct {
	From     *Host
	As       netip.Addr // one of its addresses; that of the route if zero
	Protocol string     // HTTP if empty
	To       netip.AddrPort
	Workers  int           // requests at a time; 1 if 0
	Pause    time.Duration // of each worker after a request; 0 takes all the CPU there is
	Patience time.Duration // with one request; if 0, that of Ask

	mu    sync.Mutex
	tally Tally
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// Start begins to send. It ends with Stop, or with ctx, whose end fails the requests under way.
func (l *Load) Start(ctx context.Context) {
	if l.Protocol == "" {
		l.Protocol = HTTP
	}
	stopped, stop := context.WithCancel(ctx)
	l.stop = stop
	for range max(1, l.Workers) {
		l.ended.Go(func() { l.work(ctx, stopped) })
	}
}

func (l *Load) work(ctx, stopped context.Context) {
	for stopped.Err() == nil {
		at := time.Now()
		a, err := l.ask(ctx)
		l.mu.Lock()
		l.tally.add(at, a, err)
		l.mu.Unlock()
		select {
		case <-time.After(l.Pause):
		case <-stopped.Done():
		}
	}
}

func (l *Load) ask(ctx context.Context) (Answer, error) {
	if l.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Patience)
		defer cancel()
	}
	var as netip.AddrPort
	if l.As.IsValid() {
		as = netip.AddrPortFrom(l.As, 0)
	}
	return AskAs(ctx, l.From, as, l.Protocol, l.To)
}

// Tally returns the counts so far.
func (l *Load) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.clone()
}

// Stop sends nothing new, waits for the answers under way and returns the counts.
func (l *Load) Stop() Tally {
	l.stop()
	l.ended.Wait()
	return l.Tally()
}
