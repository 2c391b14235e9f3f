package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func (h *handle) List(ctx context.Context) (Table, error) {
	var table Table
	err := h.inTurn(ctx, func() (err error) {
		table, err = h.list(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ipvs: list: %w", err)
	}
	return table, nil
}

// list dumps the virtual servers, and then the real servers of each: netlink has no dump of all real servers.
// /proc/net/ip_vs, which has, is no way around that: it lacks thresholds and flags, loses entries beside other network
// namespaces, and the kernel takes longer to print it.
func (h *handle) list(ctx context.Context) (Table, error) {
	virtuals, err := h.virtuals(ctx)
	if err != nil {
		return nil, err
	}
	table := make(Table, len(virtuals))
	var dests []dest // of one: a set that has its size from the beginning is not made anew as it grows
	for key, v := range virtuals {
		dests = dests[:0]
		if err := h.writer.dumpReals(ctx, key, func(d dest) { dests = append(dests, d) }); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		entry := Entry{VirtualServer: v, Reals: make(map[netip.AddrPort]RealServer, len(dests))}
		for _, d := range dests {
			entry.Reals[d.key] = d.real
		}
		if len(entry.Reals) == 0 { // it may be gone by now
			entry, _, err = h.get(ctx, key)
			if errors.Is(err, syscall.ESRCH) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
		table[key] = entry
	}
	return table, nil
}

func (h *handle) Virtuals(ctx context.Context) (map[frontend.Key]VirtualServer, error) {
	var virtuals map[frontend.Key]VirtualServer
	err := h.inTurn(ctx, func() (err error) {
		virtuals, err = h.virtuals(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ipvs: list virtual servers: %w", err)
	}
	return virtuals, nil
}

func (h *handle) virtuals(ctx context.Context) (map[frontend.Key]VirtualServer, error) {
	virtuals := make(map[frontend.Key]VirtualServer, h.dumped)
	if err := h.writer.dumpVirtuals(ctx, func(key frontend.Key, v VirtualServer) { virtuals[key] = v }); err != nil {
		return nil, err
	}
	h.dumped = len(virtuals)
	return virtuals, nil
}

func (h *handle) Get(ctx context.Context, key frontend.Key) (Entry, map[netip.AddrPort]Connections, error) {
	var (
		entry Entry
		conns map[netip.AddrPort]Connections
	)
	err := h.inTurn(ctx, func() (err error) {
		entry, conns, err = h.get(ctx, key)
		return err
	})
	if err != nil {
		return Entry{}, nil, fmt.Errorf("ipvs: get %s: %w", key, err)
	}
	return entry, conns, nil
}

// get reads a virtual server that has no real servers twice: it may have been made between the answer that says it has
// none and the one that says it exists.
func (h *handle) get(ctx context.Context, key frontend.Key) (Entry, map[netip.AddrPort]Connections, error) {
	entry := Entry{Reals: map[netip.AddrPort]RealServer{}}
	conns := map[netip.AddrPort]Connections{}
	for range 2 {
		var err error
		entry.VirtualServer, err = h.writer.get(ctx, key, func(d dest) { entry.Reals[d.key], conns[d.key] = d.real, d.conns })
		if err != nil {
			return Entry{}, nil, err
		}
		if len(entry.Reals) > 0 {
			break
		}
	}
	return entry, conns, nil
}

func (h *handle) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]RealServer, each func(netip.AddrPort, Connections)) (bool, error) {
	var same bool
	err := h.inTurn(ctx, func() (err error) {
		same, err = h.writer.sameReals(ctx, key, reals, each)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ipvs: compare %s: %w", key, err)
	}
	return same, nil
}
