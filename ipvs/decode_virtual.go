package ipvs

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// schedulerNames are the names of schedulers that were read: a table has thousands of virtual servers and few names.
type schedulerNames map[string]string

// name is the text up to its closing zero byte.
func (n schedulerNames) name(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	s, known := n[string(b)] // allocates nothing
	if !known {
		s = string(b)
		n[s] = s
	}
	return s
}

// decodeVirtual reads a virtual server, without the kernel's own flag, out of an answer to appendVirtualsDump or
// appendVirtualRequest. ok is false for one that has a firewall mark and no address.
func decodeVirtual(m message, names schedulerNames) (key frontend.Key, v VirtualServer, ok bool, err error) {
	raw, err := decodeRawVirtual(m)
	if err != nil || raw.marked {
		return key, v, false, err
	}
	if key, err = raw.key(); err != nil {
		return key, v, false, err
	}
	const needed = 1<<svcAttrScheduler | 1<<svcAttrFlags | 1<<svcAttrTimeout | 1<<svcAttrNetmask
	if raw.seen&needed != needed {
		return key, v, false, fmt.Errorf("%w: %s without scheduler, flags, timeout or netmask", errMalformed, key)
	}
	v = VirtualServer{Scheduler: names.name(raw.scheduler), Flags: raw.flags &^ hashed}
	if v.Flags&Persistent != 0 {
		v.PersistenceTimeout, v.PersistencePrefix = raw.timeout, prefixOf(key.Addr, raw.netmask)
	}
	return key, v, true, nil
}

// rawVirtual is what must be together before it means something.
type rawVirtual struct {
	family, protocol, port uint16
	addr, scheduler        []byte
	flags                  Flags
	timeout                uint32
	netmask                [4]byte
	seen                   uint
	marked                 bool
	stats                  rawStats
}

func decodeRawVirtual(m message) (raw rawVirtual, err error) {
	b, err := m.attrs()
	if err != nil {
		return raw, err
	}
	if b, err = findAttr(b, attrService); err != nil {
		return raw, err
	}
	for len(b) > 0 {
		typ, value, rest, err := nextAttr(b)
		if err != nil {
			return raw, err
		}
		b = rest
		if raw.take(typ, value) {
			raw.seen |= 1 << typ
		}
	}
	return raw, nil
}

// take keeps the value of an attribute, and reports whether it is one that is read.
func (r *rawVirtual) take(typ uint16, value []byte) bool {
	switch {
	case typ == svcAttrFamily && len(value) >= 2:
		r.family = getU16(value)
	case typ == svcAttrProtocol && len(value) >= 2:
		r.protocol = getU16(value)
	case typ == svcAttrAddr:
		r.addr = value
	case typ == svcAttrPort && len(value) >= 2:
		r.port = binary.BigEndian.Uint16(value)
	case typ == svcAttrMark:
		r.marked = true
	case typ == svcAttrScheduler:
		r.scheduler = value
	case typ == svcAttrFlags && len(value) >= 4: // a mask follows
		r.flags = Flags(getU32(value))
	case typ == svcAttrTimeout && len(value) >= 4:
		r.timeout = getU32(value)
	case typ == svcAttrNetmask && len(value) >= 4:
		r.netmask = [4]byte(value)
	case typ == svcAttrStats:
		r.stats.narrow = value
	case typ == svcAttrStats64:
		r.stats.wide = value
	default:
		return false
	}
	return true
}

func (r *rawVirtual) key() (frontend.Key, error) {
	const needed = 1<<svcAttrFamily | 1<<svcAttrProtocol | 1<<svcAttrAddr | 1<<svcAttrPort
	if r.seen&needed != needed || r.protocol > 0xff {
		return frontend.Key{}, fmt.Errorf("%w: virtual server without family, protocol, address or port", errMalformed)
	}
	addr, err := decodeAddr(r.family, r.addr)
	if err != nil {
		return frontend.Key{}, err
	}
	return frontend.Key{Addr: addr, Protocol: frontend.Protocol(r.protocol), Port: r.port}, nil
}
