package ipvsfake

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// faultyReader fails at the rate of the handle's faults.
type faultyReader struct {
	ipvs.StatsReader
	faults *FaultyHandle
}

// Reader wraps a reader: it fails and misses entries as often as reads of the handle do, and heals with it.
func (h *FaultyHandle) Reader(r ipvs.StatsReader) ipvs.StatsReader {
	return faultyReader{StatsReader: r, faults: h}
}

func (r faultyReader) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.Counters, error) {
	if r.faults.chance(Faults.rate) {
		return nil, fmt.Errorf("ipvs: read counters: %w", ipvs.ErrUnknown)
	}
	all, err := r.StatsReader.Virtuals(ctx)
	maps.DeleteFunc(all, func(frontend.Key, ipvs.Counters) bool { return r.faults.chance(Faults.lossy) })
	return all, err
}

func (r faultyReader) Reals(ctx context.Context, key frontend.Key) (map[netip.AddrPort]ipvs.RealStats, error) {
	if r.faults.chance(Faults.rate) {
		return nil, fmt.Errorf("ipvs: read counters of %s: %w", key, ipvs.ErrUnknown)
	}
	return r.StatsReader.Reals(ctx, key)
}

func (r faultyReader) Use(ctx context.Context) (map[frontend.Key]map[netip.AddrPort]ipvs.RealUse, error) {
	if r.faults.chance(Faults.rate) {
		return nil, fmt.Errorf("ipvs: read connections: %w", syscall.EINTR)
	}
	all, err := r.StatsReader.Use(ctx)
	maps.DeleteFunc(all, func(_ frontend.Key, reals map[netip.AddrPort]ipvs.RealUse) bool {
		maps.DeleteFunc(reals, func(netip.AddrPort, ipvs.RealUse) bool { return r.faults.chance(Faults.lossy) })
		return r.faults.chance(Faults.lossy)
	})
	return all, err
}
