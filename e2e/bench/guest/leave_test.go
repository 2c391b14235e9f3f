package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// table has as many real servers of each virtual server as there are at the time.
type table struct {
	ipvs.Reader
	reals func(frontend.Key) (int, error)
}

func (t table) Get(_ context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	n, err := t.reals(key)
	entry := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{}}
	for i := range n {
		entry.Reals[netip.AddrPortFrom(key.Addr, uint16(i))] = ipvs.RealServer{}
	}
	return entry, nil, err
}

func TestNothingRestsWhileARealServerThatWasReplacedIsThere(t *testing.T) {
	keys := []frontend.Key{{Addr: netip.MustParseAddr("10.1.0.1"), Port: 1}, {Addr: netip.MustParseAddr("10.2.0.1"), Port: 1}}
	failure := errors.New("netlink")
	for _, c := range []struct {
		name  string
		reals func(key frontend.Key, after time.Duration) (int, error)
		gone  bool
		took  time.Duration
		err   error
	}{
		{"they are gone", func(frontend.Key, time.Duration) (int, error) { return 10, nil }, true, 0, nil},
		{"the last one goes after a while", func(key frontend.Key, after time.Duration) (int, error) {
			if key == keys[1] && after < 20*time.Second {
				return 11, nil
			}
			return 10, nil
		}, true, 20 * time.Second, nil},
		{"one stays", func(frontend.Key, time.Duration) (int, error) { return 11, nil }, false, leavePatience + lookForLeaving, nil},
		{"the kernel does not say", func(frontend.Key, time.Duration) (int, error) { return 0, failure }, false, 0, failure},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			l := leavers{}
			l.add(keys)
			kernel := table{reals: func(key frontend.Key) (int, error) { return c.reals(key, time.Since(began)) }}
			gone, err := l.await(t.Context(), kernel, 10, leavePatience)
			if took := time.Since(began); gone != c.gone || !errors.Is(err, c.err) || took != c.took {
				t.Errorf("%s: gone %v after %v, %v", c.name, gone, took, err)
			}
			if gone != (len(l) == 0) {
				t.Errorf("%s: %d are still looked for", c.name, len(l))
			}
		})
	}
}

func TestASampleOfABusyProgramSaysSo(t *testing.T) {
	s := &session{subject: job.Subject{Name: "a"}}
	for _, c := range []struct {
		busy       bool
		note, want string
	}{
		{false, "", ""},
		{false, "a word", "a word"},
		{true, "", "it had not come to rest"},
		{true, "a word", "a word; it had not come to rest"},
	} {
		s.busy = c.busy
		if got := s.atRest(result.Sample{Note: c.note}).Note; got != c.want {
			t.Errorf("busy %v, %q: %q", c.busy, c.note, got)
		}
	}
}
