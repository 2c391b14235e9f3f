package ipvsfake

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// counted is what one virtual server and its real servers have counted. It goes with the virtual server. Of a real
// server that is deleted it stays, as in the kernel's trash list: the same one has it again when it comes back, unless
// the virtual server was made anew meanwhile.
type counted struct {
	virtual ipvs.Counters
	reals   map[netip.AddrPort]ipvs.Counters
}

// Count lets traffic pass through a virtual server to a real server: both count it. If either does not exist nothing
// does, for then no traffic passes.
func (k *Kernel) Count(key frontend.Key, real netip.AddrPort, delta ipvs.Counters) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, exists := k.table[key].Reals[real]; !exists {
		return
	}
	c := k.counters[key]
	if c == nil {
		c = &counted{reals: map[netip.AddrPort]ipvs.Counters{}}
		k.counters[key] = c
	}
	c.virtual, c.reals[real] = sum(c.virtual, delta), sum(c.reals[real], delta)
}

func sum(a, b ipvs.Counters) ipvs.Counters {
	return ipvs.Counters{
		Connections: a.Connections + b.Connections,
		InPackets:   a.InPackets + b.InPackets, OutPackets: a.OutPackets + b.OutPackets,
		InBytes: a.InBytes + b.InBytes, OutBytes: a.OutBytes + b.OutBytes,
	}
}

// StatReads counts the reads of a kind.
type StatReads struct{ Virtuals, Reals, Use int }

// StatReads counts the reads of counters and connections that were asked for, through any reader of this table and with
// any result.
func (k *Kernel) StatReads() StatReads {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reads
}

// Stats is a reader of the same table, open even if k is closed. Unlike a kernel, which brings counters up to date every
// two seconds, it has what was counted at once.
func (k *Kernel) Stats() ipvs.StatsReader { return &reader{namespace: k.namespace} }

type reader struct {
	*namespace
	closed bool // Guarded by namespace.mu.
}

func (r *reader) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.Counters, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads.Virtuals++
	if err := r.usable(ctx); err != nil {
		return nil, fmt.Errorf("ipvs: read counters: %w", err)
	}
	all := make(map[frontend.Key]ipvs.Counters, len(r.table))
	for key := range r.table {
		all[key] = r.of(key).virtual
	}
	return all, nil
}

func (r *reader) Reals(ctx context.Context, key frontend.Key) (map[netip.AddrPort]ipvs.RealStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads.Reals++
	if err := r.usable(ctx); err != nil {
		return nil, fmt.Errorf("ipvs: read counters of %s: %w", key, err)
	}
	reals := make(map[netip.AddrPort]ipvs.RealStats, len(r.table[key].Reals))
	for addr, real := range r.table[key].Reals {
		reals[addr] = ipvs.RealStats{
			RealServer:  real,
			Connections: r.connections[server{key, addr}],
			Counters:    r.of(key).reals[addr],
		}
	}
	return reals, nil
}

// Use leaves out virtual servers of other protocols, as readers of /proc/net/ip_vs do.
func (r *reader) Use(ctx context.Context) (map[frontend.Key]map[netip.AddrPort]ipvs.RealUse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads.Use++
	if err := r.usable(ctx); err != nil {
		return nil, fmt.Errorf("ipvs: read connections: %w", err)
	}
	all := make(map[frontend.Key]map[netip.AddrPort]ipvs.RealUse, len(r.table))
	for key, e := range r.table {
		if key.Protocol != frontend.TCP && key.Protocol != frontend.UDP && key.Protocol != frontend.SCTP {
			continue
		}
		reals := make(map[netip.AddrPort]ipvs.RealUse, len(e.Reals))
		for addr, real := range e.Reals {
			reals[addr] = ipvs.RealUse{Weight: real.Weight, Connections: r.connections[server{key, addr}]}
		}
		all[key] = reals
	}
	return all, nil
}

func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("ipvs: close reader: %w", os.ErrClosed)
	}
	r.closed = true
	return nil
}

func (r *reader) of(key frontend.Key) counted {
	if c := r.counters[key]; c != nil {
		return *c
	}
	return counted{}
}

func (r *reader) usable(ctx context.Context) error {
	if r.closed {
		return os.ErrClosed
	}
	return ctx.Err()
}
