package ledger

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"time"
)

const (
	// arrival is how long neighbours may take to find an address that is back.
	arrival = time.Second
	// farewell is how long before its pod stopped a connection may have asked in vain: it asks each second.
	farewell = time.Second
	// acknowledged is how long after an answer TCP may acknowledge it (TCP_DELACK_MAX of Linux).
	acknowledged = 200 * time.Millisecond
	// mended is when an agent that runs on has put back at the latest what somebody deleted: it looks each 30 s.
	mended = 40 * time.Second
	// before is what is shown of what was done before a promise was broken.
	before = 3 * time.Second
	// kept is how many broken promises are kept for a report.
	kept = 100
)

// Why a failure does not count.
const (
	Changing = "its Service or port was coming or going"
	NoAddr   = "its address was not on the node"
	Unseen   = "an endpoint stopped before the agent could know"
)

// Judge looks through the whole book.
func (b *Book) Judge() Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	sort.SliceStable(b.events, func(i, j int) bool { return b.events[i].At < b.events[j].At })
	j := &judge{Book: b, out: b.outages(), unseen: map[string][]unseen{}, goneAt: map[string]time.Duration{}, lateAt: map[string]time.Duration{}}
	j.pods()
	for i := range b.requests {
		j.request(&b.requests[i])
	}
	for i := range b.connections {
		j.connection(&b.connections[i])
	}
	j.v.AgentAway, j.v.SourceAway = outagesOf(b.away[Agent]), outagesOf(b.away[Source])
	j.v.Events = len(b.events)
	sort.SliceStable(j.v.Broken, func(a, c int) bool { return j.v.Broken[a].At < j.v.Broken[c].At })
	j.v.Total = len(j.v.Broken)
	j.v.Broken = j.v.Broken[:min(kept, len(j.v.Broken))]
	return j.v
}

func outagesOf(spans []Span) (o Outages) {
	for _, s := range spans {
		if s.To != Never {
			o.Times++
			o.Total += s.To - s.From
			o.Max = max(o.Max, s.To-s.From)
		}
	}
	return o
}

// judge is a judgement under way.
type judge struct {
	*Book
	out    []Span
	v      Verdict
	unseen map[string][]unseen      // by deployment
	goneAt map[string]time.Duration // by pod: when its leave was known
	lateAt map[string]time.Duration // by pod: when its termination was known
}

// unseen is a time in which a pod had stopped and the agent could not know.
type unseen struct {
	Span
	udpOnly bool
}

// known is when a change of a moment is known to the agent at the latest.
func (j *judge) known(at time.Duration) time.Duration {
	if at == Never {
		return Never
	}
	return min(j.undisturbed(at), j.read(at))
}

// read is when an agent was ready that began after a moment and had its source all the while: it has read everything.
func (j *judge) read(at time.Duration) time.Duration {
	for _, s := range j.starts {
		if s.From >= at && s.To != Never && !slices.ContainsFunc(j.away[Source], s.meets) {
			return s.To
		}
	}
	return Never
}

// undisturbed is when nobody was away for the propagation time since a moment.
func (j *judge) undisturbed(at time.Duration) time.Duration {
	for _, s := range j.out {
		switch {
		case s.To <= at:
		case s.From >= at+j.Propagation:
			return at + j.Propagation
		case s.To == Never:
			return Never
		default:
			at = s.To
		}
	}
	return at + j.Propagation
}

// disturbed says whether there was an outage within a time.
func (j *judge) disturbed(s Span) bool {
	return slices.ContainsFunc(j.out, s.meets)
}

// pods notes for each when what was known of it.
func (j *judge) pods() {
	for _, p := range j.Book.pods {
		told, left := j.known(p.Told), j.known(p.Left)
		j.goneAt[p.Name], j.lateAt[p.Name] = left, min(told, left)
		if p.Stopped == Never {
			continue
		}
		j.v.Pods++
		if known := min(told, left); known > p.Stopped {
			j.v.UnseenPods++
			// Without a word before, a flow of UDP stays with it until the agent knows that it left.
			j.unseen[p.Deployment] = append(j.unseen[p.Deployment], unseen{Span{p.Stopped, known}, false}, unseen{Span{p.Stopped, max(known, left)}, true})
			continue
		}
		// A flow of UDP stays with a pod that terminates, and moves when the pod has left: nobody moves it while the agent is away.
		if left > p.Stopped && j.disturbed(Span{p.Stopped, max(p.Stopped, p.Left) + j.Propagation}) {
			j.unseen[p.Deployment] = append(j.unseen[p.Deployment], unseen{Span{p.Stopped, left}, true})
		}
	}
}

// excuse is why a request need not be answered, "" if it must.
func (j *judge) excuse(r *Request) string {
	s := j.services[r.Service]
	if s == nil || !slices.ContainsFunc(s.promises, func(p promise) bool {
		return p.port == r.To.Port() && p.From <= r.Start && r.End <= p.To && j.known(p.From) <= r.Start
	}) {
		return Changing
	}
	if slices.ContainsFunc(j.absent[r.To.Addr()], func(s Span) bool { return s.From <= r.End && (s.To == Never || r.Start <= s.To+arrival) }) {
		return NoAddr
	}
	if slices.ContainsFunc(j.unseen[s.deployment], func(u unseen) bool {
		return u.From <= r.End && r.Start <= u.To && (!u.udpOnly || r.Protocol == UDP)
	}) {
		return Unseen
	}
	return ""
}

func (j *judge) request(r *Request) {
	n := &j.v.TCP
	if r.Protocol == UDP {
		n = &j.v.UDP
	}
	if n.Apart == nil {
		n.Apart, n.ApartAll = map[string]int{}, map[string]int{}
	}
	n.Sent++
	excuse := j.excuse(r)
	if excuse != "" {
		n.ApartAll[excuse]++
	}
	switch {
	case r.Err == "":
		n.Answered++
		if r.Tries > 1 {
			n.Retried++
		}
		j.answered(r, excuse)
	case excuse != "":
		n.Apart[excuse]++
	default:
		n.Failed++
		missing := func(at time.Duration) bool { return at <= r.End && r.Start <= at+mended }
		if r.Protocol == TCP && slices.ContainsFunc(j.deleted[r.To], missing) {
			j.v.Missing++
		}
		j.broken(r.Start, Failed, "%s %s (Service %s), tried %d times until %s: %s", r.Protocol, r.To, r.Service, r.Tries, clock(r.End), r.Err)
	}
}

// answered looks at who answered. A port that is coming or going may have been another Service's a moment ago.
func (j *judge) answered(r *Request, excuse string) {
	p := j.Book.pods[r.Pod]
	switch {
	case p == nil || excuse != Changing && p.Deployment != j.services[r.Service].deployment:
		j.v.Wrong++
		j.broken(r.Start, Wrong, "%s %s (Service %s) was answered by %q", r.Protocol, r.To, r.Service, r.Pod)
	case j.goneAt[r.Pod] < r.Sent:
		j.v.Stray++
		j.broken(r.Sent, Stray, "%s %s (Service %s) came to %s, which left at %s, and that was known by %s",
			r.Protocol, r.To, r.Service, r.Pod, clock(p.Left), clock(j.goneAt[r.Pod]))
	case r.Protocol == TCP && j.lateAt[r.Pod] < r.Start:
		j.v.Late++
		j.broken(r.Start, Late, "%s (Service %s) came to %s, which terminates since %s, and that was known by %s",
			r.To, r.Service, r.Pod, clock(min(p.Told, p.Left)), clock(j.lateAt[r.Pod]))
	}
}

func (j *judge) connection(c *Connection) {
	n := &j.v.Connections
	n.Opened++
	n.Echoes += c.Echoes
	n.Longest = max(n.Longest, c.To-c.From)
	broke := c.To
	if c.Timeout {
		broke = c.Sent + farewell
	}
	p := j.Book.pods[c.Pod]
	switch {
	case c.Err == "":
		n.ByClient++
	case p != nil && p.Stopped <= broke:
		n.WithPod++
	case j.drained(c, broke):
		n.WithService++
	case j.askedInVain(c):
		n.WithAddress++
	default:
		n.Cut++
		j.broken(broke, Cut, "of %s with %s (Service %s), open since %s, after %d answers, the last at %s, asked at %s, the address away last at %s: %s",
			c.At, c.Pod, c.Service, clock(c.From), c.Echoes, clock(c.Heard), clock(c.Sent), clock(j.lastAway(c.At.Addr(), broke)), c.Err)
	}
}

// askedInVain says whether a connection asked, or acknowledged its last answer, while its address was not on the node. The node forwards such a packet, out of another device
// than the one that conntrack masquerades the connection for, and the kernel forgets the connection then (nf_nat_oif_changed, Linux 6.1).
func (j *judge) askedInVain(c *Connection) bool {
	return slices.ContainsFunc(j.absent[c.At.Addr()], func(s Span) bool {
		return s.From <= c.Sent+farewell && c.Sent <= s.To || s.From <= c.Heard+acknowledged && c.Heard <= s.To
	})
}

// lastAway is when an address left the node for the last time before a moment; Never if it did not.
func (j *judge) lastAway(addr netip.Addr, before time.Duration) time.Duration {
	last := time.Duration(Never)
	for _, s := range j.absent[addr] {
		if s.From <= before {
			last = s.From
		}
	}
	return last
}

// drained says whether the frontend of a connection had gone for longer than the drain timeout.
func (j *judge) drained(c *Connection, broke time.Duration) bool {
	s := j.services[c.Service]
	if s == nil {
		return false
	}
	return !slices.ContainsFunc(s.promises, func(p promise) bool {
		return p.port == c.At.Port() && (p.To == Never || p.To+j.Drain > broke)
	})
}

func (j *judge) broken(at time.Duration, kind Kind, format string, args ...any) {
	b := Broken{At: at, Kind: kind, What: fmt.Sprintf(format, args...)}
	for _, e := range j.events {
		if at-before <= e.At && e.At <= at {
			b.Before = append(b.Before, e)
		}
	}
	j.v.Broken = append(j.v.Broken, b)
}
