package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

var errMalformed = errors.New("malformed netlink message")

// message is one netlink message of an answer.
type message struct {
	typ     uint16
	seq     uint32
	payload []byte
}

// nextMessage cuts the first message off b.
func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < sizeHeader {
		return m, nil, fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	size := int(getU32(b))
	if size < sizeHeader || size > len(b) {
		return m, nil, fmt.Errorf("%w: length %d in %d bytes", errMalformed, size, len(b))
	}
	m = message{typ: getU16(b[4:]), seq: getU32(b[8:]), payload: b[sizeHeader:size]}
	return m, b[min(align(size), len(b)):], nil
}

// errno is what an error message says: 0 for an acknowledgement.
func (m message) errno() (syscall.Errno, error) {
	if len(m.payload) < sizeErrno {
		return 0, fmt.Errorf("%w: error without errno", errMalformed)
	}
	return syscall.Errno(-int32(getU32(m.payload))), nil
}

// failure is the errno of the message that ends a dump or an exchange, nil for success.
func (m message) failure() error {
	if m.typ == msgDone && len(m.payload) == 0 {
		return nil
	}
	errno, err := m.errno()
	if err != nil || errno == 0 {
		return err
	}
	return errno
}

// attrs is the part after the generic-netlink header.
func (m message) attrs() ([]byte, error) {
	if len(m.payload) < sizeGenlHeader {
		return nil, fmt.Errorf("%w: no generic header", errMalformed)
	}
	return m.payload[sizeGenlHeader:], nil
}

// nextAttr cuts the first attribute off b.
func nextAttr(b []byte) (typ uint16, value, rest []byte, err error) {
	if len(b) < sizeAttr {
		return 0, nil, nil, fmt.Errorf("%w: attribute of %d bytes", errMalformed, len(b))
	}
	size := int(getU16(b))
	if size < sizeAttr || size > len(b) {
		return 0, nil, nil, fmt.Errorf("%w: attribute length %d in %d bytes", errMalformed, size, len(b))
	}
	return getU16(b[2:]) & attrTypeMask, b[sizeAttr:size], b[min(align(size), len(b)):], nil
}

// findAttr is the value of the first attribute of a type.
func findAttr(b []byte, want uint16) ([]byte, error) {
	for len(b) > 0 {
		typ, value, rest, err := nextAttr(b)
		if err != nil {
			return nil, err
		}
		if typ == want {
			return value, nil
		}
		b = rest
	}
	return nil, fmt.Errorf("%w: no attribute %d", errMalformed, want)
}

// decodeFamily is the number of a generic-netlink family in the answer to appendFamilyRequest.
func decodeFamily(m message) (uint16, error) {
	b, err := m.attrs()
	if err != nil {
		return 0, err
	}
	id, err := findAttr(b, ctrlAttrID)
	if err != nil {
		return 0, err
	}
	if len(id) < 2 {
		return 0, fmt.Errorf("%w: family number of %d bytes", errMalformed, len(id))
	}
	return getU16(id), nil
}

// dest is a real server as the kernel tells it.
type dest struct {
	key   netip.AddrPort
	real  RealServer
	conns Connections
}

// decodeDest reads one message of the answer to appendRealsDump. The virtual server's address stands in for the family
// that kernels before 3.18 leave out. All 32 bits of a weight are read.
func decodeDest(m message, virtual netip.Addr) (dest, error) {
	d, _, err := decodeRawDest(m, virtual)
	return d, err
}

// decodeRawDest is decodeDest with the attributes that decodeDest makes no use of.
func decodeRawDest(m message, virtual netip.Addr) (dest, rawDest, error) {
	raw := rawDest{family: addressFamily(virtual)}
	b, err := m.attrs()
	if err != nil {
		return dest{}, raw, err
	}
	if b, err = findAttr(b, attrDest); err != nil {
		return dest{}, raw, err
	}
	var (
		d    dest
		u32s = map32{
			destAttrWeight: &d.real.Weight, destAttrUpper: &d.real.UpperThreshold, destAttrLower: &d.real.LowerThreshold,
			destAttrActive: &d.conns.Active, destAttrInactive: &d.conns.Inactive, destAttrForwarding: &raw.forwarding,
		}
	)
	for len(b) > 0 {
		typ, value, rest, err := nextAttr(b)
		if err != nil {
			return dest{}, raw, err
		}
		b = rest
		switch {
		case typ == destAttrAddr:
			raw.addr = value
		case typ == destAttrPort && len(value) >= 2:
			raw.port, raw.hasPort = binary.BigEndian.Uint16(value), true
		case typ == destAttrFamily && len(value) >= 2:
			raw.family = getU16(value)
		case typ == destAttrStats:
			raw.stats.narrow = value
		case typ == destAttrStats64:
			raw.stats.wide = value
		case int(typ) < len(u32s) && u32s[typ] != nil && len(value) >= 4:
			*u32s[typ] = getU32(value)
			raw.seen |= 1 << typ
		}
	}
	addr, err := raw.address()
	if err != nil {
		return dest{}, raw, err
	}
	d.key = netip.AddrPortFrom(addr, raw.port)
	d.real.Forwarding = Forwarding(raw.forwarding & forwardingMask)
	d.conns = Connections{Active: connections(d.conns.Active), Inactive: connections(d.conns.Inactive)}
	return d, raw, nil
}

// connections is a count that the kernel keeps with a sign and may have for a moment below zero.
func connections(n uint32) uint32 {
	if int32(n) < 0 {
		return 0
	}
	return n
}

// map32 says where the 32-bit value of an attribute goes.
type map32 [destAttrInactive + 1]*uint32

// rawDest is what must be together before it means something.
type rawDest struct {
	family     uint16
	addr       []byte
	port       uint16
	hasPort    bool
	forwarding uint32
	seen       uint
	stats      rawStats
}

// address is the address, when everything that makes a real server was there: unknown is an error and not zero.
func (r rawDest) address() (netip.Addr, error) {
	const needed = 1<<destAttrWeight | 1<<destAttrForwarding | 1<<destAttrUpper | 1<<destAttrLower
	if !r.hasPort || r.seen&needed != needed {
		return netip.Addr{}, fmt.Errorf("%w: real server without port, forwarding method, weight or thresholds", errMalformed)
	}
	return decodeAddr(r.family, r.addr)
}

// decodeAddr is an address of either family, of which the kernel always sends 16 bytes.
func decodeAddr(family uint16, b []byte) (netip.Addr, error) {
	switch {
	case family == familyIPv4 && len(b) >= 4:
		return netip.AddrFrom4([4]byte(b)), nil
	case family == familyIPv6 && len(b) >= sizeAddrOnWire:
		return netip.AddrFrom16([sizeAddrOnWire]byte(b)), nil
	}
	return netip.Addr{}, fmt.Errorf("%w: address of %d bytes in family %d", errMalformed, len(b), family)
}
