package ipvs

import (
	"context"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Reader reads the IPVS table of one network namespace. Methods may be called from several goroutines; calls follow each
// other. Each one ends when ctx does, or when the kernel has not answered for ten seconds.
type Reader interface {
	// List reads all virtual servers that have an address (those with a firewall mark are left out) and all their real
	// servers: one dump and one more for each. It is no snapshot while somebody writes, be it in another network namespace:
	// virtual servers may be missing. What it has of one is exact. An empty table is not an error.
	List(ctx context.Context) (Table, error)

	// Virtuals is List without the real servers: one dump, however many there are.
	Virtuals(ctx context.Context) (map[frontend.Key]VirtualServer, error)

	// Get reads one virtual server exactly, with the connections of each real server. IsGone(err) if there is none.
	Get(ctx context.Context, key frontend.Key) (Entry, map[netip.AddrPort]Connections, error)

	// SameReals reports whether a virtual server has exactly these real servers: one dump, and no garbage. One that does not
	// exist has none. While somebody else writes it, the answer may be false although they are the same. Unless it is nil,
	// each is called with the connections of every real server that is there, also of those that are not in reals.
	SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]RealServer, each func(netip.AddrPort, Connections)) (bool, error)

	// Timeouts reads the idle timeouts of connections of the network namespace.
	Timeouts(ctx context.Context) (Timeouts, error)
}

// Handle is the IPVS table of one network namespace, to be read and written in the way of Reader.
type Handle interface {
	Reader

	// Do sends the operations in order, many in one system call, and returns one result for each: nil when the kernel
	// has acknowledged it, an *OpError with the kernel's errno when it refused it, and an *OpError that is ErrUnknown
	// when no answer came. An operation that fails does not stop those after it. Those that were not sent because ctx
	// had ended are an *OpError that is ctx's error. Nothing is tolerated here: Apply does.
	Do(ctx context.Context, ops []Op) []error

	// SetTimeouts writes those that are not zero; a zero keeps what the kernel has.
	SetTimeouts(ctx context.Context, t Timeouts) error

	// ProbeScheduler asks the kernel whether it has a scheduler and lets it load the module. It leaves nothing behind.
	// IsUnknownScheduler(err) if it has none of that name.
	ProbeScheduler(ctx context.Context, name string) error

	// Close ends the handle and its sockets. Calls after it fail.
	Close() error
}

// Timeouts are the idle timeouts after which IPVS forgets a connection, each a whole number of seconds. The kernel's
// own defaults are 15 min, 2 min and 5 min. There is one set for a network namespace.
type Timeouts struct {
	TCP, TCPFin, UDP time.Duration
}
