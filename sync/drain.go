package sync

import (
	"maps"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// settle is how long a departing real server must have been without an active connection before it is deleted. The
// kernel counts a connection as active until the first FIN, and one of SCTP only once its handshake is complete: what is just
// being closed or opened needs the real server a little longer, retransmissions included (the first comes after a second).
const settle = 3 * time.Second

// departure is what is known of a real server that is on its way out.
type departure struct {
	// since is when it was first found departing by this process: a restart starts the clock anew.
	since time.Time
	// dead is when it was found to live no more, which begins its deadline; zero as long as it is merely not chosen.
	dead time.Time
	// busy is when it was last known to have a connection that keeps it: an active one; of UDP, which has no end, any; and any while it
	// lives. The kernel counts a connection of which one side has ended as inactive, also while the other sends on, and with it those
	// that ended in the last two minutes. Of one that is dead nothing else tells them apart.
	busy time.Time
	// looked is when its connections were last looked at: nothing is known of it since then.
	looked time.Time
	// unused: a look found it at weight 0, where it gets no new connection, and without any: not even one that is being opened
	// or closed.
	unused bool
}

// departures are the departing real servers of one frontend.
type departures map[netip.AddrPort]departure

// idle reports whether nobody needs the real server any more. One that had no connections need not settle. That nobody has looked is no sign of it: a look may fail,
// and the next one waits for an audit or a long list.
func (d departure) idle() bool { return d.unused || d.looked.Sub(d.busy) >= settle }

// drain is the table entry that the kernel should have next for a frontend: want, and beside it what has to be there a
// little longer. It is pure. have is the kernel's entry, want is nil if nothing should be served, leaving is what the
// last call returned for the frontend. The entry is nil when the virtual server may go.
//
// A real server that is not wanted any more
//
//	stands under a scheduler without fallback deleted: at weight 0 its clients would be refused
//	is quiet (terminates, still serves)       weight 0, no deadline
//	lives, but is not chosen any more         weight 0 until it has no connection, no deadline
//	is gone and served UDP                    deleted: the kernel drops its flows, the clients' next packets go elsewhere
//	else                                      weight 0 until it has no active connection, or for timeout at most
func drain(now time.Time, timeout time.Duration, key frontend.Key, have ipvs.Entry, want *Frontend, leaving departures) (*ipvs.Entry, departures) {
	next := ipvs.Entry{VirtualServer: have.VirtualServer, Reals: map[netip.AddrPort]ipvs.RealServer{}}
	if want != nil {
		next = want.Entry.Clone()
		if next.Reals == nil {
			next.Reals = map[netip.AddrPort]ipvs.RealServer{}
		}
	}
	still := departures{}
	for addr, real := range have.Reals {
		if _, wanted := next.Reals[addr]; wanted {
			continue
		}
		d, known := leaving[addr]
		if !known {
			d = departure{since: now, busy: now, looked: now}
		}
		switch {
		case !d.clockOff(want, addr):
		case d.dead.IsZero():
			d.dead = now
		default:
			d.dead = time.Time{}
		}
		fate := fateOf(now, timeout, key.Protocol, addr, want, d)
		if fate == goes {
			continue
		}
		real.Weight = 0
		next.Reals[addr] = real
		if fate == waits {
			still[addr] = d
		}
	}
	if want == nil && len(next.Reals) == 0 {
		return nil, nil
	}
	return &next, still
}

// lives reports whether a real server goes on serving although it is not wanted.
func lives(want *Frontend, addr netip.AddrPort) bool { return want != nil && want.lives(addr) }

// clockOff reports that its deadline has to begin, because it has died, or to end, because it lives again.
func (d departure) clockOff(want *Frontend, addr netip.AddrPort) bool {
	return lives(want, addr) != d.dead.IsZero()
}

// fate is what becomes of a real server that is not wanted any more.
type fate int

const (
	goes  fate = iota
	waits      // at weight 0, until its departure ends
	rests      // at weight 0, without a deadline
)

// fateOf is the fate that the rules of drain have for a real server.
func fateOf(now time.Time, timeout time.Duration, p frontend.Protocol, addr netip.AddrPort, want *Frontend, d departure) fate {
	if refusesAtZero(want) {
		return goes
	}
	if want != nil {
		if _, quiet := want.Quiet[addr]; quiet {
			return rests
		}
	}
	dead := !lives(want, addr)
	if p == frontend.UDP && dead || d.idle() || dead && !d.dead.IsZero() && now.Sub(d.dead) >= timeout {
		return goes
	}
	return waits
}

// refusesAtZero reports that the scheduler sends clients to a real server of weight 0 all the same, where they are
// refused: dh has no fallback.
func refusesAtZero(want *Frontend) bool { return want != nil && want.Entry.Scheduler == "dh" }

// looked is since when nothing is known of at least one of them.
func (d departures) looked() time.Time {
	var first time.Time
	for _, dep := range d {
		if first.IsZero() || dep.looked.Before(first) {
			first = dep.looked
		}
	}
	return first
}

// seen records what the kernel says of the connections of departing real servers, present among its others. It counts those of
// UDP as inactive.
func (d departures) seen(now time.Time, p frontend.Protocol, present map[netip.AddrPort]ipvs.RealServer, connections map[netip.AddrPort]ipvs.Connections) departures {
	next := maps.Clone(d)
	for addr, dep := range next {
		real, there := present[addr]
		c, told := connections[addr]
		if there && !told { // a dump may miss one: nothing is known of it
			continue
		}
		dep.looked, dep.unused = now, there && real.Weight == 0 && c == ipvs.Connections{}
		// Who still has his weight, because nobody could take his place, goes on getting connections.
		if c.Active > 0 || c.Inactive > 0 && (p == frontend.UDP || dep.dead.IsZero()) || real.Weight > 0 {
			dep.busy = now
		}
		next[addr] = dep
	}
	return next
}
