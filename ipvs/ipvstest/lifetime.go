package ipvstest

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// lifetime is what calls do after the end of their context or of the handle.
func lifetime() []promise {
	return []promise{
		{"calls fail after Close", func(s subject) {
			s.must(addVirtual(key4(), rr()))
			if err := s.Close(); err != nil {
				s.Fatal(err)
			}
			for name, err := range s.calls(s.Context()) {
				if !errors.Is(err, os.ErrClosed) {
					s.Errorf("%s: %v, want %v", name, err, os.ErrClosed)
				}
			}
			if err := s.Close(); !errors.Is(err, os.ErrClosed) {
				s.Errorf("Close: %v, want %v", err, os.ErrClosed)
			}
		}},
		{"calls fail with the error of their context once it has ended, and change nothing", func(s subject) {
			s.must(addVirtual(key4(), ipvs.VirtualServer{Scheduler: "wrr"}))
			ctx, cancel := context.WithCancel(s.Context())
			cancel()
			for name, err := range s.calls(ctx) {
				if !errors.Is(err, context.Canceled) {
					s.Errorf("%s: %v, want %v", name, err, context.Canceled)
				}
			}
			s.has(ipvs.Table{key4(): entry(ipvs.VirtualServer{Scheduler: "wrr"}, nil)})
		}},
		{"calls from several goroutines do not disturb each other", manyCallers},
	}
}

// manyCallers lets each goroutine write and read a virtual server of its own.
func manyCallers(s subject) {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		want = ipvs.Table{}
	)
	for n := range uint16(8) {
		wait.Go(func() {
			k := frontend.NewKey(key4().Addr, frontend.TCP, 30000+n)
			for w := range uint32(10) {
				ops := []ipvs.Op{setVirtual(k, rr()), setReal(k, real4(1), weight(w))}
				if w == 0 {
					ops = []ipvs.Op{addVirtual(k, rr()), addReal(k, real4(1), weight(w))}
				}
				errs := s.Do(s.Context(), ops)
				e, _, err := s.Get(s.Context(), k)
				if err := errors.Join(append(errs, err)...); err != nil || e.Reals[real4(1)] != weight(w) {
					s.Errorf("%s has %v after weight %d was set, %v", k, e.Reals, w, err)
				}
				if _, err := s.List(s.Context()); err != nil {
					s.Error(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			want[k] = entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): weight(9)})
		})
	}
	wait.Wait()
	s.has(want)
}

// calls makes one call of every method that takes a context, with ctx, and returns their errors by name.
func (s subject) calls(ctx context.Context) map[string]error {
	_, list := s.List(ctx)
	_, virtuals := s.Virtuals(ctx)
	_, same := s.SameReals(ctx, key4(), nil, nil)
	_, _, get := s.Get(ctx, key4())
	_, timeouts := s.Timeouts(ctx)
	return map[string]error{
		"List":           list,
		"Virtuals":       virtuals,
		"SameReals":      same,
		"Get":            get,
		"Do":             s.Do(ctx, []ipvs.Op{setVirtual(key4(), rr())})[0],
		"Timeouts":       timeouts,
		"SetTimeouts":    s.SetTimeouts(ctx, ipvs.Timeouts{UDP: time.Minute}),
		"ProbeScheduler": s.ProbeScheduler(ctx, "rr"),
	}
}
