package ipvs

import (
	"context"
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Counters are what the kernel has counted for a virtual server, or a real server, since it was made: 64 bits each, which
// kernels have since 4.1; before that connections and packets have 32. A virtual server counts for its real servers too,
// those that are gone included.
//
// They come late: the kernel sums them up every two seconds, and not at all while net.ipv4.vs.run_estimation is 0. They
// may begin at zero again: with a virtual server that is deleted and made anew, and with a real server that comes back to
// it, or that was away for longer than the kernel's trash list keeps it, which is two minutes or more. One that comes back
// before goes on where it was. (Measured on Linux 6.1.)
type Counters struct {
	// Connections that were scheduled. UDP has one for each flow, or for each datagram under OnePacket.
	Connections uint64
	// Packets and bytes from clients (in) and to them (out), IP headers included.
	InPackets, OutPackets, InBytes, OutBytes uint64
}

// RealStats is a real server with what the kernel knows of its use.
type RealStats struct {
	RealServer
	Connections
	Counters Counters
}

// RealUse is what the kernel tells of all real servers at once: their weights and connections, without the counters.
type RealUse struct {
	Weight uint32
	Connections
}

// StatsReader reads what the kernel counts. It has a socket of its own, so that nobody who writes waits for it longer than for
// one answer of the kernel. Methods may be called from several goroutines; calls follow each other. Each one ends when ctx
// does, or when the kernel has not answered for ten seconds.
type StatsReader interface {
	// Virtuals reads the counters of all virtual servers that have an address: one dump, however many there are. It is no
	// snapshot: while somebody writes, be it in another network namespace, virtual servers may be missing that are there.
	Virtuals(ctx context.Context) (map[frontend.Key]Counters, error)
	// Reals reads the real servers of one virtual server exactly: one dump. Empty, and no error, if there is none.
	Reals(ctx context.Context, key frontend.Key) (map[netip.AddrPort]RealStats, error)
	// Use reads the weights and connections of all real servers of TCP, UDP and SCTP: one pass through /proc/net/ip_vs, which
	// the kernel hands out in pieces of 4 KiB, one dump of the virtual servers, and one of the real servers of each virtual
	// server that the file left out. It is no snapshot either.
	Use(ctx context.Context) (map[frontend.Key]map[netip.AddrPort]RealUse, error)
	// Close ends the reader and its socket. Calls after it fail.
	Close() error
}
