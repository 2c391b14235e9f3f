// Package observe tells when the kernel has something, whoever wrote it, and disturbs the writer as little as can be.
package observe

import (
	"context"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Want is everything that the kernel should have: every frontend with all of its endpoints.
type Want map[frontend.Key][]netip.AddrPort

// Observer looks at the kernel's tables of one host.
type Observer interface {
	// Complete returns when everything wanted is there, with the time at which it was first seen, or how many frontends lack something with ctx's error.
	// Entries beside those (of cluster IPs) do not matter. Precision says how late the time may be.
	Complete(ctx context.Context, want Want) (at time.Time, precision time.Duration, err error)
	// Prepare gets ready for a change that gives a frontend another endpoint, before it is made; the function it returns waits for it, and
	// returns when the kernel had it.
	Prepare(key frontend.Key, endpoint netip.AddrPort) (wait func(ctx context.Context) (time.Time, error), err error)
	// Close ends the observer.
	Close() error
}

// IPVS observes virtual servers and real servers. A change is seen by asking for the one virtual server, a millisecond after the other.
func IPVS(host *topo.Host) (Observer, error) { panic("to be written") }

// Nftables observes kube-proxy's tables in nftables mode (upstream's pkg/proxy/nftables) by the kernel's own notifications.
func Nftables(host *topo.Host) (Observer, error) { panic("to be written") }
