// Package ipvstest says in tests what an ipvs.Handle promises. The same suite runs on the model in package ipvsfake,
// wherever the project is built, and on real IPVS: what it demands was asked of Linux 6.1, so where the two disagree,
// the model is wrong.
package ipvstest

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Contract runs every case on a handle of its own. open returns one on an empty table that nobody else writes, with the
// kernel's own timeouts and the schedulers rr, wrr, sh and mh, and closes it when the test ends.
func Contract(t *testing.T, open func(t *testing.T) ipvs.Handle) {
	t.Helper()
	for _, cases := range [][]promise{errnos(), virtualServers(), realServers(), batches(), settings(), lifetime()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				c.check(subject{T: t, Handle: open(t)})
			})
		}
	}
}

// promise is one case; its name is what a handle promises.
type promise struct {
	name  string
	check func(subject)
}

// subject is the handle under test with the words that the cases are written in.
type subject struct {
	*testing.T
	ipvs.Handle
}

// must carries out operations that have to succeed.
func (s subject) must(ops ...ipvs.Op) {
	s.Helper()
	for i, err := range s.do(ops...) {
		if err != nil {
			s.Fatalf("operation %d of %d: %v", i+1, len(ops), err)
		}
	}
}

// do carries out operations and checks the form of the results: one for each, and every error an OpError of its own
// operation.
func (s subject) do(ops ...ipvs.Op) []error {
	s.Helper()
	results := s.Do(s.Context(), ops)
	if len(results) != len(ops) {
		s.Fatalf("%d operations got %d results", len(ops), len(results))
	}
	for i, err := range results {
		var op *ipvs.OpError
		if err != nil && (!errors.As(err, &op) || op.Op != ops[i]) {
			s.Fatalf("the error of %q is %v, not an OpError of it", ops[i], err)
		}
	}
	return results
}

// fails carries out one operation that has to fail with want and has to leave the table as it was.
func (s subject) fails(op ipvs.Op, want error) {
	s.Helper()
	before := s.list()
	if err := s.do(op)[0]; !errors.Is(err, want) {
		s.Errorf("%s: %v, want %v", op, err, want)
	}
	s.same(s.list(), before)
}

// list is the whole table.
func (s subject) list() ipvs.Table {
	s.Helper()
	t, err := s.List(s.Context())
	if err != nil {
		s.Fatalf("list: %v", err)
	}
	return t
}

// get is one virtual server that has to exist.
func (s subject) get(key frontend.Key) ipvs.Entry {
	s.Helper()
	e, conns, err := s.Get(s.Context(), key)
	if err != nil {
		s.Fatalf("get: %v", err)
	}
	if len(conns) != len(e.Reals) {
		s.Errorf("%d real servers of %s have %d counts of connections", len(e.Reals), key, len(conns))
	}
	return e
}

// has checks that the whole table is want, and that the other ways to read it say the same of each virtual server.
func (s subject) has(want ipvs.Table) {
	s.Helper()
	s.same(s.list(), want)
	virtuals, err := s.Virtuals(s.Context())
	if err != nil || len(virtuals) != len(want) {
		s.Errorf("%d virtual servers, %v, want %d", len(virtuals), err, len(want))
	}
	for _, key := range want.Keys() {
		s.same(ipvs.Table{key: s.get(key)}, ipvs.Table{key: want[key]})
		if virtuals[key] != want[key].VirtualServer {
			s.Errorf("%s is %v among the virtual servers, want %v", key, virtuals[key], want[key].VirtualServer)
		}
		s.hasReals(key, want[key].Reals, true)
	}
}

// hasReals checks whether SameReals says that a virtual server has these real servers.
func (s subject) hasReals(key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, want bool) {
	s.Helper()
	if same, err := s.SameReals(s.Context(), key, reals, nil); same != want || err != nil {
		s.Errorf("the same real servers of %s: %t, %v, want %t", key, same, err, want)
	}
}

// same compares as text, which is easier to read than values, and as values, which have more in them.
func (s subject) same(got, want ipvs.Table) {
	s.Helper()
	if got.Equal(want) {
		return
	}
	diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(got.String(), "\n"))
	if diff == "" {
		diff = cmp.Diff(want, got, cmpopts.EquateEmpty())
	}
	s.Errorf("the table is not as promised (-want +got):\n%s", diff)
}
