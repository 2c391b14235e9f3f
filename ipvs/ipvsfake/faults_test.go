package ipvsfake_test

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestAFaultHappensOnceAndToTheOperationItFits(t *testing.T) {
	k := key("10.1.0.10:80")
	there, other := netip.MustParseAddrPort("10.244.1.2:80"), netip.MustParseAddrPort("10.244.1.3:80")
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	h := ipvsfake.Faulty(kernel, ipvsfake.Faults{Once: []ipvsfake.Fault{
		{Verb: ipvs.AddReal, Key: k, Real: other, Err: syscall.ENOMEM},
		{Verb: ipvs.SetReal, Err: ipvs.ErrUnknown, Done: true},
		{Verb: ipvs.DelVirtual, Key: key("10.1.0.99:80"), Err: syscall.EPERM},
	}})
	add := ipvs.Op{Verb: ipvs.AddReal, Key: k, RealKey: other}
	set := ipvs.Op{Verb: ipvs.SetReal, Key: k, RealKey: there, Real: ipvs.RealServer{Weight: 7}}
	del := ipvs.Op{Verb: ipvs.DelVirtual, Key: key("[fd01::10]:80")}

	results := h.Do(t.Context(), []ipvs.Op{add, set, del, add})

	for i, want := range []error{syscall.ENOMEM, ipvs.ErrUnknown, nil, nil} {
		if !errors.Is(results[i], want) {
			t.Errorf("operation %d: got %v, want %v", i, results[i], want)
		}
	}
	want := "tcp://10.1.0.10:80 rr\n  10.244.1.2:80 masq weight 7\n  10.244.1.3:80 masq weight 0\n"
	if kernel.String() != want {
		t.Errorf("the kernel has\n%swant\n%s", kernel, want)
	}
	if left := h.Unconsumed(); len(left) != 1 || !errors.Is(left[0].Err, syscall.EPERM) {
		t.Errorf("unconsumed: %v", left)
	}
}

func TestRandomFaultsAreOfEveryKindAndTheSameForTheSameSeed(t *testing.T) {
	outcomes := func(seed uint64) string {
		kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
		h := ipvsfake.Faulty(kernel, ipvsfake.Faults{Rate: 0.5, Seed: seed})
		var log string
		for range 200 {
			for _, verb := range []ipvs.Verb{ipvs.AddReal, ipvs.SetReal, ipvs.DelReal} {
				op := ipvs.Op{Verb: verb, Key: key("10.1.0.10:80"), RealKey: netip.MustParseAddrPort("10.244.1.3:80")}
				if err := one(t, h, op); err != nil {
					log += err.Error() + "\n"
				}
			}
			if _, err := h.List(t.Context()); err != nil {
				log += err.Error() + "\n"
			}
			if _, _, err := h.Get(t.Context(), key("10.1.0.10:80")); err != nil {
				log += err.Error() + "\n"
			}
		}
		for _, errno := range []error{syscall.EINTR, syscall.ENOMEM, syscall.ENOBUFS, syscall.EBADF, syscall.EEXIST, syscall.ENOENT, ipvs.ErrUnknown} {
			if !strings.Contains(log, errno.Error()) {
				t.Errorf("seed %d never met %v", seed, errno)
			}
		}
		return log
	}
	first := outcomes(1)
	if outcomes(1) != first {
		t.Error("the same seed gives other faults")
	}
	if outcomes(2) == first {
		t.Error("another seed gives the same faults")
	}
}

func TestLossyListsMissEntriesAndHealedOnesDoNot(t *testing.T) {
	h := ipvsfake.Faulty(ipvsfake.New(ipvsfake.WithTable(startTable(t))), ipvsfake.Faults{Lossy: 0.5, Seed: 1})
	missed := map[string]bool{}
	for range 100 {
		table, err := h.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		missed[table.String()] = true
	}
	// Each of two virtual servers whole, without its real server, or not at all.
	if len(missed) != 9 {
		t.Errorf("%d kinds of lists, want 9", len(missed))
	}
	h.Heal()
	table, err := h.List(t.Context())
	if err != nil || table.String() != start {
		t.Errorf("healed: %v\n%s", err, table)
	}
}
