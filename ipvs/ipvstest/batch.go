package ipvstest

import (
	"context"
	"errors"
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func batches() []promise {
	return []promise{
		{"no operations are no results", func(s subject) {
			s.do()
			s.has(ipvs.Table{})
		}},
		{"operations are carried out in order and a failure stops nothing", failureInTheMiddle},
		{"a failure of the last operation is reported like any other", func(s subject) {
			results := s.do(addVirtual(key4(), rr()), addVirtual(key4(), rr()))
			s.results(results, nil, syscall.EEXIST)
		}},
		{"every operation may fail at once, each with its own error, however many there are", everyFailure},
		{"more operations than fit into one system call are carried out, failures where they belong", manyOperations},
		{"operations are not sent when the context has ended, and say so", func(s subject) {
			ctx, cancel := context.WithCancel(s.Context())
			cancel()
			for _, err := range s.Do(ctx, []ipvs.Op{addVirtual(key4(), rr()), addVirtual(key6(), rr())}) {
				if !errors.Is(err, context.Canceled) || errors.Is(err, ipvs.ErrUnknown) {
					s.Errorf("%v, want %v", err, context.Canceled)
				}
			}
			s.has(ipvs.Table{})
		}},
	}
}

// results checks which operations succeeded and which failed with what.
func (s subject) results(got []error, want ...error) {
	s.Helper()
	for i := range want {
		if !errors.Is(got[i], want[i]) || (want[i] == nil) != (got[i] == nil) {
			s.Errorf("result %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func failureInTheMiddle(s subject) {
	v4, missing := key4(), key("tcp://10.1.0.10:1")
	results := s.do(
		addVirtual(v4, rr()),
		addVirtual(v4, rr()),
		addReal(v4, real4(1), weight(1)),
		addReal(v4, real4(1), weight(9)),
		addReal(missing, real4(1), weight(1)),
		delReal(v4, real4(5)),
		delVirtual(missing),
		addReal(v4, real4(2), weight(2)),
		setReal(v4, real4(7), weight(1)),
		setReal(v4, real4(1), weight(1<<31)),
		setReal(v4, real4(2), weight(4)),
	)
	s.results(results, nil, syscall.EEXIST, nil, syscall.EEXIST, syscall.ESRCH, syscall.ENOENT, syscall.ESRCH, nil,
		syscall.ENOENT, syscall.ERANGE, nil)
	s.has(ipvs.Table{v4: entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): weight(1), real4(2): weight(4)})})
}

func everyFailure(s subject) {
	ops := make([]ipvs.Op, 5000)
	for i := range ops {
		ops[i] = delVirtual(frontend.NewKey(key4().Addr, frontend.TCP, uint16(i+1)))
	}
	for i, err := range s.do(ops...) {
		if !errors.Is(err, syscall.ESRCH) {
			s.Fatalf("operation %d: %v, want ESRCH", i, err)
		}
	}
}

func manyOperations(s subject) {
	const virtuals, reals = 500, 10
	var ops []ipvs.Op
	want := ipvs.Table{}
	for i := range virtuals {
		k := frontend.NewKey(key4().Addr, frontend.TCP, uint16(i+1))
		ops = append(ops, addVirtual(k, rr()))
		want[k] = entry(rr(), map[netip.AddrPort]ipvs.RealServer{})
		for j := range reals {
			ops = append(ops, addReal(k, real4(j+1), weight(uint32(j))))
			want[k].Reals[real4(j+1)] = weight(uint32(j))
		}
		ops = append(ops, addVirtual(k, rr()))
	}
	for i, err := range s.do(ops...) {
		again := i%(reals+2) == reals+1
		if again != errors.Is(err, syscall.EEXIST) || !again && err != nil {
			s.Fatalf("operation %d: %v", i, err)
		}
	}
	s.hasTwice(want)
}

// hasTwice lists twice instead of asking for each virtual server: a second List may read otherwise than the first.
func (s subject) hasTwice(want ipvs.Table) {
	s.Helper()
	s.same(s.list(), want)
	s.same(s.list(), want)
}
