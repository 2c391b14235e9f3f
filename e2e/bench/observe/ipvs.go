package observe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// ipvsObserver asks by socket options, and lists everything through a handle to be sure.
type ipvsObserver struct {
	options options
	kernel  ipvs.Handle
	turn    sync.Mutex // of looks for changes: all who wait share a tenth of the time
}

// IPVS observes virtual servers and real servers, of IPv4. It loads the module. Everything: how many real servers each virtual server has,
// at one moment, as soon as some that were taken at random have theirs. A change: the one virtual server, a millisecond after the other.
func IPVS(host *topo.Host) (Observer, error) {
	o := &ipvsObserver{}
	err := host.Do(func() (err error) {
		if o.kernel, err = ipvs.Open(ipvs.Options{}); err != nil {
			return err
		}
		if o.options, err = openOptions(); err != nil {
			return errors.Join(err, o.kernel.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("observe IPVS of %s: %w", host.Name, err)
	}
	// The first list is a long one: let it be that of an empty table.
	if _, err := o.kernel.List(context.Background()); err != nil {
		return nil, fmt.Errorf("observe IPVS of %s: %w", host.Name, errors.Join(err, o.Close()))
	}
	return o, nil
}

func (o *ipvsObserver) Close() error { return errors.Join(o.options.close(), o.kernel.Close()) }

// Complete counts until every virtual server has as many real servers as wanted, and then looks whether it is those. Where it is not, only lists
// can tell when it is, which take longer.
func (o *ipvsObserver) Complete(ctx context.Context, want Want) (time.Time, time.Duration, error) {
	if err := onlyIPv4(want); err != nil {
		return time.Time{}, 0, err
	}
	w := &awaited{options: o.options, want: want, before: time.Now(), lacking: keys(want)}
	lacking := len(want)
	at, err := w.await(ctx)
	for counted := true; err == nil; counted = false {
		begin := time.Now()
		if lacking, err = o.lacking(ctx, want); err != nil {
			break
		}
		if lacking == 0 && !counted {
			at = time.Now()
		}
		if lacking == 0 {
			return at, at.Sub(w.before), nil
		}
		w.before = begin
		err = rest(ctx, begin)
	}
	if lacking == len(want) {
		lacking = len(w.lacking)
	}
	return time.Time{}, 0, fmt.Errorf("observe IPVS: %d of %d frontends lack something: %w", lacking, len(want), err)
}

// lacking is how many frontends do not have all of their endpoints.
func (o *ipvsObserver) lacking(ctx context.Context, want Want) (int, error) {
	have, err := o.kernel.List(ctx)
	if err != nil {
		return len(want), err
	}
	n := 0
	for key, endpoints := range want {
		for _, e := range endpoints {
			if have[key].Reals[e].Weight == 0 {
				n++
				break
			}
		}
	}
	return n, nil
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
	if !key.Addr.Is4() {
		return nil, fmt.Errorf("observe %s: only IPv4 can be observed", key)
	}
	n, err := o.options.reals(key)
	if err != nil {
		return nil, err
	}
	buf := room(n)
	there, err := o.options.has(key, endpoint, buf)
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
	there, err := o.options.has(key, endpoint, buf)
	if err != nil || there {
		return there, time.Now(), err
	}
	return false, time.Time{}, rest(ctx, begin)
}

func onlyIPv4(want Want) error {
	for key := range want {
		if !key.Addr.Is4() {
			return fmt.Errorf("observe %s: only IPv4 can be observed", key)
		}
	}
	return nil
}

func keys(want Want) []frontend.Key {
	all := make([]frontend.Key, 0, len(want))
	for key := range want {
		all = append(all, key)
	}
	return all
}
