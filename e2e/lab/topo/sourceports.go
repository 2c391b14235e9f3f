package topo

import (
	"net/netip"
	"sync/atomic"
)

// sourcePorts gives each socket of a host a source port that no other had for a long time. Left to itself the kernel gives sockets that
// ask different addresses the same port, and if two of them come to one port of one pod, IPVS cannot tell their replies apart: the older
// one hears no more, or is reset (docs/reliability.md).
type sourcePorts struct{ taken atomic.Uint32 }

// Programs of the lab listen below the first port, and node ports have a gap.
const (
	firstSource  = 11_000
	sourceGap    = 30_000 // the first port that is left out
	sourceGapEnd = 33_000
	lastSource   = 60_999
	sources      = lastSource + 1 - firstSource - (sourceGapEnd - sourceGap)
)

func (p *sourcePorts) next() uint16 {
	port := firstSource + p.taken.Add(1)%sources
	if port >= sourceGap {
		port += sourceGapEnd - sourceGap
	}
	return uint16(port)
}

// source is what a socket of the host is bound to that asks to, where as may leave open the address or the port.
func (h *Host) source(as, to netip.AddrPort) netip.AddrPort {
	addr, port := as.Addr(), as.Port()
	switch {
	case as.IsValid():
	case to.Addr().Is4():
		addr = netip.IPv4Unspecified()
	default:
		addr = netip.IPv6Unspecified()
	}
	if port == 0 {
		port = h.sourcePorts.next()
	}
	return netip.AddrPortFrom(addr, port)
}
