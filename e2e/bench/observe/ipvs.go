package observe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// ipvsObserver asks by socket options.
type ipvsObserver struct {
	options options
	turn    sync.Mutex // of looks for changes: all who wait share a tenth of the time
}

// IPVS observes virtual servers and real servers, of IPv4. It loads the module. Everything: how many real servers each virtual server has,
// at one moment, as soon as some that were taken at random have theirs. A change: the one virtual server, a millisecond after the other.
func IPVS(host *topo.Host) (Observer, error) {
	o := &ipvsObserver{}
	err := host.Do(func() (err error) {
		// Socket options are there when the module is.
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		if err := kernel.Close(); err != nil {
			return err
		}
		o.options, err = openOptions()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("observe IPVS of %s: %w", host.Name, err)
	}
	return o, nil
}

func (o *ipvsObserver) Close() error { return o.options.close() }

// Complete counts until every virtual server has as many real servers as wanted, and then looks whether it is those.
func (o *ipvsObserver) Complete(ctx context.Context, want Want) (time.Time, time.Duration, error) {
	w := &awaited{options: o.options, want: want, before: time.Now(), lacking: keys(want)}
	at, err := w.await(ctx)
	if err == nil {
		at, err = w.verify(ctx, at)
	}
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("observe IPVS: %d of %d frontends lack something: %w", len(w.lacking), len(want), err)
	}
	return at, at.Sub(w.before), nil
}

// awaited is what is not there yet.
type awaited struct {
	options options
	want    Want
	lacking []frontend.Key // as of the last look at all of them
	before  time.Time      // when the last look began that found something missing
}

// probes is how many virtual servers, taken at random from those that lacked something, must be as wanted before all are looked at.
const probes = 8

// await returns when all virtual servers have as many real servers as are wanted.
func (w *awaited) await(ctx context.Context) (time.Time, error) {
	if err := w.repeat(ctx, func() (bool, error) {
		n, err := w.options.count()
		return n >= len(w.want), err
	}); err != nil {
		return time.Time{}, err
	}
	for {
		begin := time.Now()
		if err := w.look(); err != nil {
			return time.Time{}, err
		}
		if len(w.lacking) == 0 {
			return time.Now(), nil
		}
		w.before = begin
		for range probes {
			key := w.lacking[rand.IntN(len(w.lacking))]
			if err := w.repeat(ctx, func() (bool, error) {
				n, err := w.options.reals(key)
				return n >= len(w.want[key]), err
			}); err != nil {
				return time.Time{}, err
			}
		}
	}
}

// look notes which virtual servers lack real servers.
func (w *awaited) look() error {
	have, err := w.options.all()
	if err != nil {
		return err
	}
	w.lacking = w.lacking[:0]
	for key, endpoints := range w.want {
		if n, ok := have[key]; !ok || n < len(endpoints) {
			w.lacking = append(w.lacking, key)
		}
	}
	return nil
}

// verify returns when every real server is one that is wanted, and serves: that is at, when all were counted, unless some were others. What was
// found is not looked at again.
func (w *awaited) verify(ctx context.Context, at time.Time) (time.Time, error) {
	w.lacking = keys(w.want)
	for counted := true; ; counted = false {
		begin := time.Now()
		var err error
		w.lacking = slices.DeleteFunc(w.lacking, func(key frontend.Key) bool {
			if err != nil {
				return false
			}
			var has bool
			has, err = w.options.has(key, w.want[key], room(len(w.want[key])))
			return has
		})
		switch {
		case err != nil:
			return time.Time{}, err
		case len(w.lacking) == 0 && counted:
			return at, nil
		case len(w.lacking) == 0:
			return time.Now(), nil
		}
		w.before = begin
		if counted {
			continue // That was a long look, of which only a part is repeated.
		}
		if err := rest(ctx, begin); err != nil {
			return time.Time{}, err
		}
	}
}

// repeat looks until there is something to see.
func (w *awaited) repeat(ctx context.Context, look func() (bool, error)) error {
	for {
		begin := time.Now()
		seen, err := look()
		if err != nil || seen {
			return err
		}
		w.before = begin
		if err := rest(ctx, begin); err != nil {
			return err
		}
	}
}

// Prepare has nothing to get ready but a buffer.
func (o *ipvsObserver) Prepare(key frontend.Key, endpoint netip.AddrPort) (func(context.Context) (time.Time, error), error) {
	n, err := o.options.reals(key)
	if err != nil {
		return nil, err
	}
	buf := room(n)
	there, err := o.options.has(key, []netip.AddrPort{endpoint}, buf)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, fmt.Errorf("observe %s: it has %s already", key, endpoint)
	}
	return func(ctx context.Context) (time.Time, error) { return o.wait(ctx, key, endpoint, buf) }, nil
}

func (o *ipvsObserver) wait(ctx context.Context, key frontend.Key, endpoint netip.AddrPort, buf []byte) (time.Time, error) {
	for {
		there, at, err := o.look(ctx, key, endpoint, buf)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait for %s of %s: %w", endpoint, key, err)
		}
		if there {
			return at, nil
		}
	}
}

// look looks once, and rests so that all looks together are rare.
func (o *ipvsObserver) look(ctx context.Context, key frontend.Key, endpoint netip.AddrPort, buf []byte) (bool, time.Time, error) {
	o.turn.Lock()
	defer o.turn.Unlock()
	begin := time.Now()
	there, err := o.options.has(key, []netip.AddrPort{endpoint}, buf)
	if err != nil || there {
		return there, time.Now(), err
	}
	return false, time.Time{}, rest(ctx, begin)
}

func keys(want Want) []frontend.Key {
	all := make([]frontend.Key, 0, len(want))
	for key := range want {
		all = append(all, key)
	}
	return all
}
