package ipvsfake_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestTrafficCountsForWhatExistsAndForNothingElse(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	k, there := key("10.1.0.10:80"), netip.MustParseAddrPort("10.244.1.2:80")
	one := ipvs.Counters{Connections: 1, InPackets: 2, OutPackets: 3, InBytes: 4, OutBytes: 5}
	two := ipvs.Counters{Connections: 2, InPackets: 4, OutPackets: 6, InBytes: 8, OutBytes: 10}
	kernel.Count(k, there, one)
	kernel.Count(k, there, one)
	kernel.Count(k, netip.MustParseAddrPort("10.244.1.3:80"), one)
	kernel.Count(key("10.1.0.11:80"), there, one)
	reader := kernel.Stats()
	virtuals, err := reader.Virtuals(t.Context())
	if err != nil || len(virtuals) != 2 || virtuals[k] != two || virtuals[key("[fd01::10]:80")] != (ipvs.Counters{}) {
		t.Errorf("%v, %v", virtuals, err)
	}
	reals, err := reader.Reals(t.Context(), k)
	if want := (ipvs.RealStats{RealServer: ipvs.RealServer{Weight: 1}, Counters: two}); err != nil || len(reals) != 1 || reals[there] != want {
		t.Errorf("%v, %v", reals, err)
	}
}

func TestReadsAreCountedByKindWhateverComesOfThem(t *testing.T) {
	kernel := ipvsfake.New()
	closed, reader := kernel.Stats(), kernel.Open().Stats()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	virtuals := func(ctx context.Context, r ipvs.StatsReader) error {
		_, err := r.Virtuals(ctx)
		return err
	}
	reals := func(ctx context.Context, r ipvs.StatsReader) error {
		_, err := r.Reals(ctx, key("10.1.0.10:80"))
		return err
	}
	use := func(ctx context.Context, r ipvs.StatsReader) error {
		_, err := r.Use(ctx)
		return err
	}
	for kind, read := range map[string]func(context.Context, ipvs.StatsReader) error{"Virtuals": virtuals, "Reals": reals, "Use": use} {
		if err := read(t.Context(), reader); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := read(t.Context(), closed); err == nil {
			t.Errorf("%s works on a closed reader", kind)
		}
		if err := read(cancelled, reader); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", kind, err, context.Canceled)
		}
	}
	if got, want := kernel.StatReads(), (ipvsfake.StatReads{Virtuals: 3, Reals: 3, Use: 3}); got != want || kernel.Writes() != 0 {
		t.Errorf("counted %+v, want %+v, and %d writes, want none", got, want, kernel.Writes())
	}
}

func TestConnectionsOfOtherProtocolsAreNotInUse(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	icmp := key("10.1.0.10:80")
	icmp.Protocol = 1
	if err := one(t, kernel, ipvs.Op{Verb: ipvs.AddVirtual, Key: icmp, Virtual: ipvs.VirtualServer{Scheduler: "rr"}}); err != nil {
		t.Fatal(err)
	}
	uses, err := kernel.Stats().Use(t.Context())
	if _, told := uses[icmp]; told || len(uses) != 2 || err != nil {
		t.Errorf("%v, %v", uses, err)
	}
	virtuals, err := kernel.Stats().Virtuals(t.Context())
	if _, told := virtuals[icmp]; !told || err != nil {
		t.Errorf("%v, %v", virtuals, err)
	}
}

func TestAReaderFailsAndMissesAsItsHandleDoes(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	h := ipvsfake.Faulty(kernel, ipvsfake.Faults{Rate: 0.3, Lossy: 0.3, Seed: 1})
	reader := h.Reader(kernel.Stats())
	failed, found := "", map[string]map[int]bool{"virtuals": {}, "uses": {}, "real servers": {}}
	for range 100 {
		virtuals, err := reader.Virtuals(t.Context())
		uses, useErr := reader.Use(t.Context())
		reals, realsErr := reader.Reals(t.Context(), key("10.1.0.10:80"))
		for _, err := range []error{err, useErr, realsErr} {
			if err != nil {
				failed += err.Error() + "\n"
			}
		}
		if realsErr == nil && len(reals) != 1 {
			t.Errorf("%v: what is read exactly misses nothing", reals)
		}
		if err == nil {
			found["virtuals"][len(virtuals)] = true
		}
		if useErr == nil {
			found["uses"][len(uses)] = true
			for _, use := range uses {
				found["real servers"][len(use)] = true
			}
		}
	}
	for kind, numbers := range map[string]int{"virtuals": 3, "uses": 3, "real servers": 2} {
		if len(found[kind]) != numbers {
			t.Errorf("%s: %v, want %d numbers of them", kind, found[kind], numbers)
		}
	}
	for _, want := range []string{"read counters:", "read counters of", "read connections:", ipvs.ErrUnknown.Error(), syscall.EINTR.Error()} {
		if !strings.Contains(failed, want) {
			t.Errorf("no failure says %q", want)
		}
	}
	h.Heal()
	for range 20 {
		virtuals, err := reader.Virtuals(t.Context())
		uses, useErr := reader.Use(t.Context())
		if err != nil || useErr != nil || len(virtuals) != 2 || len(uses) != 2 {
			t.Fatalf("healed: %v, %v, %v, %v", virtuals, err, uses, useErr)
		}
	}
}
