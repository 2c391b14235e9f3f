//go:build kernel && linux

package ipvs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// The model in package ipvsfake is asked the same as the kernel, at random and with much that no agent would ever ask:
// both must answer alike and have the same table. What differs is a mistake of the model.
func TestKernelAndItsModelAreTheSameAfterRandomOperations(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			var kernel ipvs.Handle
			inFreshNamespace(t, func() { kernel = open(t, ipvs.Options{}) })
			model := ipvsfake.New()
			ask := oddOperations(rand.New(rand.NewPCG(seed, 0)))
			answered := map[string]int{}
			for range 20 {
				ops := make([]ipvs.Op, 50)
				for i := range ops {
					ops[i] = ask()
				}
				got, want := kernel.Do(t.Context(), ops), model.Do(t.Context(), ops)
				for i := range ops {
					if errno(got[i]) != errno(want[i]) {
						t.Errorf("%s: the kernel says %v, the model %v", ops[i], got[i], want[i])
					}
					answered[fmt.Sprint(ops[i].Verb, errno(got[i]))]++
				}
				table, err := kernel.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				wantTable(t, "the kernel's table, compared with the model's", table, model.Table())
			}
			// Three, three, two, five, five and three: every answer that a verb can get.
			if len(answered) != 21 {
				t.Errorf("%d kinds of answers, want 21: %v", len(answered), answered)
			}
		})
	}
}

func errno(err error) syscall.Errno {
	var e syscall.Errno
	if err != nil && !errors.As(err, &e) {
		return ^syscall.Errno(0)
	}
	return e
}

// oddOperations draws from so few values that most operations meet something, and some values are impossible.
func oddOperations(r *rand.Rand) func() ipvs.Op {
	addrs := []string{"10.1.0.10", "fd01::10", "0.0.0.0"}
	reals := []string{"10.244.1.2", "10.244.1.3", "fd02::2", "fd02::3"}
	oddReals := []string{
		"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.0.1",
		"::1", "::", "fe80::1", "ff02::1", "::ffff:10.244.1.2",
	}
	verbs := append(ipvs.Verbs(), ipvs.AddVirtual, ipvs.AddVirtual, ipvs.AddReal, ipvs.AddReal, ipvs.AddReal, ipvs.SetReal, ipvs.DelReal)
	draw := func(n int) int { return r.IntN(n) }
	return func() ipvs.Op {
		op := ipvs.Op{
			Verb: verbs[draw(len(verbs))],
			Key: frontend.Key{
				Addr:     netip.MustParseAddr(addrs[draw(len(addrs))]),
				Protocol: []frontend.Protocol{frontend.TCP, frontend.UDP, 1}[draw(3)],
				Port:     []uint16{80, 0}[draw(2)],
			},
		}
		switch op.Verb {
		case ipvs.AddVirtual, ipvs.SetVirtual:
			op.Virtual = ipvs.VirtualServer{
				Scheduler: []string{"rr", "wrr", "sh", "nosuch", ""}[draw(5)],
				Flags:     []ipvs.Flags{0, ipvs.Persistent, ipvs.OnePacket, ipvs.Sched1 | ipvs.Sched3}[draw(4)],
			}
			if op.Virtual.Flags == ipvs.Persistent {
				op.Virtual.PersistenceTimeout = []uint32{1, 10800}[draw(2)]
				op.Virtual.PersistencePrefix = []uint8{0, 24, 32}[draw(3)]
			}
		case ipvs.AddReal, ipvs.SetReal, ipvs.DelReal:
			addr := reals[draw(len(reals))]
			if draw(4) == 0 {
				addr = oddReals[draw(len(oddReals))]
			}
			op.RealKey = netip.AddrPortFrom(netip.MustParseAddr(addr), []uint16{8080, 0}[draw(2)])
		case ipvs.DelVirtual:
		}
		if op.Verb == ipvs.AddReal || op.Verb == ipvs.SetReal {
			op.Real = ipvs.RealServer{
				Forwarding:     ipvs.Forwarding(draw(4)),
				Weight:         []uint32{0, 1, 1, 1, 70000, 1 << 31}[draw(6)],
				UpperThreshold: []uint32{0, 10}[draw(2)],
				LowerThreshold: []uint32{0, 0, 0, 5}[draw(4)],
			}
		}
		return op
	}
}
