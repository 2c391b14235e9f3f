package ipvs

import (
	"fmt"
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// rawStats are both kinds of statistics that a kernel sends of a virtual or real server: those of 64 bits, which Linux has
// since 4.1, and the older ones, whose connections and packets begin at 0 again after 2^32. nil is what was not sent.
type rawStats struct {
	wide, narrow []byte
}

// counters reads the wider kind that is there. One that is missing in it is an error and not zero.
func (r rawStats) counters() (Counters, error) {
	b := r.wide
	if b == nil {
		b = r.narrow
	}
	var (
		c    Counters
		u64s = [...]*uint64{
			statAttrConns: &c.Connections, statAttrInPkts: &c.InPackets, statAttrOutPkts: &c.OutPackets,
			statAttrInBytes: &c.InBytes, statAttrOutBytes: &c.OutBytes,
		}
		seen uint
	)
	for len(b) > 0 {
		typ, value, rest, err := nextAttr(b)
		if err != nil {
			return Counters{}, err
		}
		b = rest
		if int(typ) >= len(u64s) || u64s[typ] == nil {
			continue
		}
		switch {
		case len(value) >= 8:
			*u64s[typ] = getU64(value)
		case len(value) >= 4:
			*u64s[typ] = uint64(getU32(value))
		default:
			return Counters{}, fmt.Errorf("%w: counter %d of %d bytes", errMalformed, typ, len(value))
		}
		seen |= 1 << typ
	}
	const needed = 1<<statAttrConns | 1<<statAttrInPkts | 1<<statAttrOutPkts | 1<<statAttrInBytes | 1<<statAttrOutBytes
	if seen != needed {
		return Counters{}, fmt.Errorf("%w: statistics without all of their counters", errMalformed)
	}
	return c, nil
}

// decodeRealStats reads one message of the answer to appendRealsDump, with the counters.
func decodeRealStats(m message, virtual netip.Addr) (netip.AddrPort, RealStats, error) {
	d, raw, err := decodeRawDest(m, virtual)
	if err != nil {
		return d.key, RealStats{}, err
	}
	counters, err := raw.stats.counters()
	if err != nil {
		return d.key, RealStats{}, fmt.Errorf("%s: %w", d.key, err)
	}
	return d.key, RealStats{RealServer: d.real, Connections: d.conns, Counters: counters}, nil
}

// decodeVirtualStats reads one message of the answer to appendVirtualsDump. ok is false for a virtual server that has a
// firewall mark and no address.
func decodeVirtualStats(m message) (key frontend.Key, c Counters, ok bool, err error) {
	raw, err := decodeRawVirtual(m)
	if err != nil || raw.marked {
		return key, c, false, err
	}
	if key, err = raw.key(); err != nil {
		return key, c, false, err
	}
	if c, err = raw.stats.counters(); err != nil {
		return key, c, false, fmt.Errorf("%s: %w", key, err)
	}
	return key, c, true, nil
}
