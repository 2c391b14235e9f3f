package observe

import (
	"context"
	"errors"
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
	now := time.Now()
	w := &awaited{options: o.options, want: want, start: now, before: now, lacking: keys(want)}
	at, err := w.await(ctx)
	if err == nil {
		at, err = w.verify(ctx, at)
	}
	if err != nil {
		w.lacking = keys(want)
		err = errors.Join(err, w.remove(w.has))
		return time.Time{}, 0, fmt.Errorf("observe IPVS: %d of %d frontends lack something: %w", len(w.lacking), len(want), err)
	}
	return at, at.Sub(w.before), nil
}

// awaited is what is not there yet.
type awaited struct {
	options options
	want    Want
	lacking []frontend.Key // as of the last look at all of them; unknown ones lack
	start   time.Time
	before  time.Time // when the last look began that found something missing
}

// probes is how many virtual servers, taken at random from those that lacked something, must be as wanted before all are looked at.
const probes = 16

// few is the part of the virtual servers below which those that lack something are asked for one by one.
const few = 1. / 8

// await returns when all virtual servers have as many real servers as are wanted.
func (w *awaited) await(ctx context.Context) (time.Time, error) {
	if err := w.repeat(ctx, func() (bool, error) {
		n, err := w.options.count()
		return n >= len(w.want), err
	}); err != nil {
		return time.Time{}, err
	}
	return w.settle(ctx, w.counted, w.look)
}

// settle returns when nothing is left that lacks something. All are looked at when some, taken at random, are whole.
func (w *awaited) settle(ctx context.Context, whole func(frontend.Key) (bool, error), all func() error) (time.Time, error) {
	for {
		for range min(probes, len(w.lacking)) {
			key := w.lacking[rand.IntN(len(w.lacking))]
			if err := w.repeat(ctx, func() (bool, error) { return whole(key) }); err != nil {
				return time.Time{}, err
			}
		}
		begin := time.Now()
		if err := all(); err != nil {
			return time.Time{}, err
		}
		if len(w.lacking) == 0 {
			return time.Now(), nil
		}
		w.before = begin
	}
}

// counted says whether a virtual server has as many real servers as are wanted.
func (w *awaited) counted(key frontend.Key) (bool, error) {
	n, err := w.options.reals(key)
	return n >= len(w.want[key]), err
}

// look leaves the virtual servers that lack real servers.
func (w *awaited) look() error {
	if float64(len(w.lacking)) < few*float64(len(w.want)) {
		return w.remove(w.counted)
	}
	have, err := w.options.all()
	if err != nil {
		return err
	}
	return w.remove(func(key frontend.Key) (bool, error) {
		n, ok := have[key]
		return ok && n >= len(w.want[key]), nil
	})
}

// remove removes those that lack nothing.
func (w *awaited) remove(whole func(frontend.Key) (bool, error)) (err error) {
	w.lacking = slices.DeleteFunc(w.lacking, func(key frontend.Key) bool {
		if err != nil {
			return false
		}
		var is bool
		is, err = whole(key)
		return is
	})
	return err
}

// verify returns when every real server is one that is wanted, and serves: that is at, when all were counted, unless some were others. What was
// found is not looked at again.
func (w *awaited) verify(ctx context.Context, at time.Time) (time.Time, error) {
	w.lacking = keys(w.want)
	begin := time.Now()
	if err := w.remove(w.has); err != nil || len(w.lacking) == 0 {
		return at, err
	}
	w.before = begin
	return w.settle(ctx, w.has, func() error { return w.remove(w.has) })
}

// has says whether a virtual server has all of its real servers.
func (w *awaited) has(key frontend.Key) (bool, error) {
	return w.options.has(key, w.want[key], room(len(w.want[key])))
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
		if err := rest(ctx, w.start, begin); err != nil {
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
	return false, time.Time{}, rest(ctx, begin, begin)
}

func keys(want Want) []frontend.Key {
	all := make([]frontend.Key, 0, len(want))
	for key := range want {
		all = append(all, key)
	}
	return all
}
