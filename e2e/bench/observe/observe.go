// Package observe tells when the kernel has something, whoever wrote it, and disturbs the writer as little as can be.
//
//	IPVS      one system call for a number that is compared      (IP_VS_SO_GET_INFO, _SERVICES, _SERVICE, _DESTS)
//	nftables  a change: the kernel's notifications; everything: the number of the ruleset's generation, and two dumps when it changes
//
// A look is paid for by whoever else needs the processor, so looks that are repeated take a tenth of the time at most.
package observe

import (
	"context"
	"net/netip"
	"time"

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
	// returns when the kernel had it. Many may wait at once. It is an error if the frontend has that endpoint already.
	Prepare(key frontend.Key, endpoint netip.AddrPort) (wait func(ctx context.Context) (time.Time, error), err error)
	// Close ends the observer.
	Close() error
}

const (
	// lookEvery is how often the kernel is asked at most.
	lookEvery = time.Millisecond
	// share is how many times the duration of a look is waited for the next one.
	share = 9
	// fraction of the time that something takes is what its time may be late for the sake of fewer looks.
	fraction = 500
)

// rest waits after a look that began at look, so long that looks take a tenth of the time, and that they become rarer
// the longer it takes that has begun at start.
func rest(ctx context.Context, start, look time.Time) error {
	now := time.Now()
	took := now.Sub(look)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(max(lookEvery-took, share*took, now.Sub(start)/fraction)):
		return nil
	}
}
