package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// nftObserver asks through a socket of its own, and listens while changes are waited for.
//
// It does not listen for the first ruleset: who listens makes the kernel write a message for each rule, chain and element within the
// commit. "nft -f" of 1,000 Services with 10 endpoints took 10 and 14 % longer so (Linux 6.1, emulated on one processor).
type nftObserver struct {
	host *topo.Host

	mu       sync.Mutex
	socket   *nfSocket
	listener *listener // nil when nothing is waited for
}

// Nftables observes kube-proxy's tables in nftables mode (upstream's pkg/proxy/nftables). Everything: whenever the generation of the ruleset, which
// every commit changes, is another. A change: by the kernel's notifications of what a commit changed.
func Nftables(host *topo.Host) (Observer, error) {
	o := &nftObserver{host: host}
	err := host.Do(func() (err error) {
		o.socket, err = openNetfilter()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("observe nftables of %s: %w", host.Name, err)
	}
	return o, nil
}

func (o *nftObserver) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.stop(), o.socket.close())
}

// stop ends listening.
func (o *nftObserver) stop() error {
	if o.listener == nil {
		return nil
	}
	err := o.listener.close()
	o.listener = nil
	return err
}

func (o *nftObserver) Complete(ctx context.Context, want Want) (time.Time, time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.stop(); err != nil {
		return time.Time{}, 0, err
	}
	s := &search{socket: o.socket, want: want, left: keys(want), lacking: len(want)}
	at, before, err := s.await(ctx)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("observe nftables: %d of %d frontends lack something: %w", s.lacking, len(want), err)
	}
	return at, at.Sub(before), nil
}

// family is nf_tables' name for the one of a frontend.
func family(key frontend.Key) uint8 {
	if key.Addr.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// Prepare begins to listen, if nobody does yet, and reads what the frontend leads to, if nobody has yet.
func (o *nftObserver) Prepare(key frontend.Key, endpoint netip.AddrPort) (func(context.Context) (time.Time, error), error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listener == nil {
		err := o.host.Do(func() (err error) {
			o.listener, err = newListener()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("observe nftables: %w", err)
		}
	}
	wait, err := o.listener.prepare(o.socket, key, endpoint)
	if err != nil {
		return nil, fmt.Errorf("observe %s: %w", key, err)
	}
	return func(ctx context.Context) (time.Time, error) {
		at, err := wait(ctx)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait for %s of %s: %w", endpoint, key, err)
		}
		return at, nil
	}, nil
}
