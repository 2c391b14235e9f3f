package ipvs

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// spreadTable has two virtual servers with six real servers each.
func spreadTable(scheduler string) Table {
	table := Table{}
	for _, port := range []uint16{30080, 30081} {
		e := Entry{VirtualServer: VirtualServer{Scheduler: scheduler}, Reals: map[netip.AddrPort]RealServer{}}
		for i := range byte(6) {
			e.Reals[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, i + 1}), 8080)] = RealServer{Weight: 1}
		}
		table[frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, port)] = e
	}
	return table
}

func TestSpreadOrdersTheRealServersOfEachVirtualServerByNode(t *testing.T) {
	next := spreadTable("rr")
	plan := Diff(Table{}, next)
	first := map[netip.AddrPort]int{}
	for seed := range uint64(60) {
		spread := slices.Clone(plan).Spread(seed, next)
		if diff := cmp.Diff(spread.String(), slices.Clone(plan).Spread(seed, next).String()); diff != "" {
			t.Fatalf("one seed, two orders:\n%s", diff)
		}
		// The virtual servers still come first, and the real servers of the first one before those of the second.
		for i, op := range spread {
			if op.Verb != plan[i].Verb || op.Key != plan[i].Key {
				t.Fatalf("seed %d, operation %d is %s, was %s", seed, i, op, plan[i])
			}
		}
		sorted := slices.SortedFunc(slices.Values(spread), func(a, b Op) int {
			return slices.Index(plan, a) - slices.Index(plan, b)
		})
		if diff := cmp.Diff(plan.String(), Plan(sorted).String()); diff != "" {
			t.Fatalf("seed %d lost or made operations:\n%s", seed, diff)
		}
		first[spread[2].RealKey]++
	}
	if len(first) != 6 {
		t.Errorf("60 nodes begin with %d of 6 real servers: %v", len(first), first)
	}
}

func TestSpreadRealServersKeepWhatTheyAre(t *testing.T) {
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	reals := map[netip.AddrPort]RealServer{}
	for i := range byte(6) {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, i + 1}), 8080+uint16(i))
		reals[addr] = RealServer{Weight: uint32(i) + 1, Forwarding: Forwarding(i % 2), UpperThreshold: uint32(i)}
	}
	next := Table{key: {VirtualServer: VirtualServer{Scheduler: "wrr"}, Reals: reals}}
	for seed := range uint64(20) {
		got := Table{}
		for _, op := range Diff(Table{}, next).Spread(seed, next) {
			got.Commit(op)
		}
		if diff := cmp.Diff(next.String(), got.String()); diff != "" {
			t.Fatalf("seed %d makes another table (-want +got):\n%s", seed, diff)
		}
	}
}

// Endpoints of the host network may be several on one address.
func TestSpreadTellsTheRealServersOfOneAddressByTheirPorts(t *testing.T) {
	key, addr := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080), netip.MustParseAddr("10.1.0.20")
	e := Entry{VirtualServer: VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]RealServer{}}
	for port := range uint16(4) {
		e.Reals[netip.AddrPortFrom(addr, 8080+port)] = RealServer{Weight: 1}
	}
	next := Table{key: e}
	first := map[uint16]int{}
	for seed := range uint64(60) {
		first[Diff(Table{}, next).Spread(seed, next)[1].RealKey.Port()]++
	}
	if len(first) != 4 {
		t.Errorf("60 nodes begin with %d of 4 real servers: %v", len(first), first)
	}
}

func TestSpreadLeavesTheOrderOfSchedulersThatHash(t *testing.T) {
	for _, scheduler := range []string{"sh", "mh", "dh"} {
		next := spreadTable(scheduler)
		plan := Diff(Table{}, next)
		if diff := cmp.Diff(plan.String(), slices.Clone(plan).Spread(7, next).String()); diff != "" {
			t.Errorf("%s (-before +after):\n%s", scheduler, diff)
		}
	}
}
