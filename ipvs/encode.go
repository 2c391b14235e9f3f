package ipvs

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// maxMessage is an upper bound for the length of one message of appendOp: AddReal has the longest, 140 bytes.
const maxMessage = 160

// appendOp appends the message that asks for op. It allocates nothing when b has room for maxMessage more.
func appendOp(b []byte, family uint16, seq uint32, op *Op) []byte {
	start := len(b)
	b = appendHeaders(b, family, flagRequest, seq, command(op.Verb))
	switch op.Verb {
	case AddVirtual, SetVirtual:
		b = appendVirtual(b, op.Key, &op.Virtual)
	case AddReal, SetReal:
		b = appendKey(b, op.Key)
		b = appendReal(b, op.RealKey, &op.Real)
	case DelReal:
		b = appendKey(b, op.Key)
		b = appendRealKey(b, op.RealKey)
	default:
		b = appendKey(b, op.Key)
	}
	return closeMessage(b, start)
}

// appendProbe appends the request for an IPv6 virtual server with a persistence prefix of length 0.
func appendProbe(b []byte, family uint16, seq uint32, op *Op) []byte {
	start := len(b)
	b = appendOp(b, family, seq, op)
	clear(b[len(b)-4:]) // the netmask comes last
	askForAck(b[start:])
	return b
}

// appendRealsDump appends the request for all real servers of one virtual server.
func appendRealsDump(b []byte, family uint16, seq uint32, key frontend.Key) []byte {
	start := len(b)
	b = appendHeaders(b, family, flagRequest|flagDump, seq, cmdGetDest)
	b = appendKey(b, key)
	return closeMessage(b, start)
}

// appendVirtualsDump appends the request for all virtual servers.
func appendVirtualsDump(b []byte, family uint16, seq uint32) []byte {
	start := len(b)
	return closeMessage(appendHeaders(b, family, flagRequest|flagDump, seq, cmdGetService), start)
}

// appendVirtualRequest appends the request for one virtual server.
func appendVirtualRequest(b []byte, family uint16, seq uint32, key frontend.Key) []byte {
	start := len(b)
	b = appendHeaders(b, family, flagRequest, seq, cmdGetService)
	b = appendKey(b, key)
	return closeMessage(b, start)
}

// appendFamilyRequest appends the question for the number of a generic-netlink family.
func appendFamilyRequest(b []byte, seq uint32, name string) []byte {
	start := len(b)
	b = appendHeaders(b, genlControl, flagRequest, seq, ctrlGetFamily)
	b = appendString(b, ctrlAttrName, name)
	return closeMessage(b, start)
}

// askForAck makes the message at the start of b ask for an acknowledgement of success. Failures are answered anyway.
func askForAck(b []byte) { putU16(b[6:], getU16(b[6:])|flagAck) }

// appendHeaders appends a netlink and a generic-netlink header; closeMessage fills in the length.
func appendHeaders(b []byte, family, flags uint16, seq uint32, cmd uint8) []byte {
	var h [sizeHeader + sizeGenlHeader]byte
	putU16(h[4:], family)
	putU16(h[6:], flags)
	putU32(h[8:], seq)
	h[16], h[17] = cmd, genlVersion
	return append(b, h[:]...)
}

func closeMessage(b []byte, start int) []byte {
	putU32(b[start:], uint32(len(b)-start))
	return b
}

func appendKey(b []byte, key frontend.Key) []byte {
	start := len(b)
	b = openNested(b, attrService)
	b = appendKeyAttrs(b, key)
	return closeNested(b, start)
}

func appendKeyAttrs(b []byte, key frontend.Key) []byte {
	b = appendU16(b, svcAttrFamily, addressFamily(key.Addr))
	b = appendU16(b, svcAttrProtocol, uint16(key.Protocol))
	b = appendAddr(b, svcAttrAddr, key.Addr)
	return appendPort(b, svcAttrPort, key.Port)
}

func appendVirtual(b []byte, key frontend.Key, v *VirtualServer) []byte {
	start := len(b)
	b = openNested(b, attrService)
	b = appendKeyAttrs(b, key)
	// One byte more than any name has is enough for the kernel to refuse it.
	b = appendString(b, svcAttrScheduler, v.Scheduler[:min(len(v.Scheduler), maxSchedulerName+1)])
	b = appendFlags(b, v.Flags)
	b = appendU32(b, svcAttrTimeout, v.PersistenceTimeout)
	b = appendHeader(b, svcAttrNetmask, 4)
	mask := netmask(key.Addr, v.PersistencePrefix)
	b = append(b, mask[:]...)
	return closeNested(b, start)
}

func appendRealKey(b []byte, real netip.AddrPort) []byte {
	start := len(b)
	b = openNested(b, attrDest)
	b = appendRealKeyAttrs(b, real)
	return closeNested(b, start)
}

func appendRealKeyAttrs(b []byte, real netip.AddrPort) []byte {
	b = appendAddr(b, destAttrAddr, real.Addr())
	b = appendPort(b, destAttrPort, real.Port())
	return appendU16(b, destAttrFamily, addressFamily(real.Addr()))
}

// appendReal always sends the whole configuration: the kernel takes no less, not even to change a weight.
func appendReal(b []byte, key netip.AddrPort, r *RealServer) []byte {
	start := len(b)
	b = openNested(b, attrDest)
	b = appendRealKeyAttrs(b, key)
	b = appendU32(b, destAttrForwarding, uint32(r.Forwarding))
	b = appendU32(b, destAttrWeight, r.Weight)
	b = appendU32(b, destAttrUpper, r.UpperThreshold)
	b = appendU32(b, destAttrLower, r.LowerThreshold)
	return closeNested(b, start)
}

// addressFamily is 0 for an invalid address, which the kernel refuses.
func addressFamily(a netip.Addr) uint16 {
	switch {
	case !a.IsValid():
		return 0
	case a.Is4():
		return familyIPv4
	}
	return familyIPv6
}

// netmask is the persistence netmask as it lies in memory: for IPv4 a mask in network order, for IPv6 a prefix length
// in the order of the machine, although the kernel gives both one type.
func netmask(addr netip.Addr, prefix uint8) (mask [4]byte) {
	if addr.Is4() {
		if prefix == 0 || prefix > 32 {
			prefix = 32
		}
		binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-prefix))
		return mask
	}
	if prefix == 0 {
		prefix = wholeAddressIP6
	}
	putU32(mask[:], uint32(prefix))
	return mask
}

// prefixOf is the reverse of netmask; a whole address is 0.
func prefixOf(addr netip.Addr, mask [4]byte) uint8 {
	if addr.Is4() {
		ones := bits.LeadingZeros32(^binary.BigEndian.Uint32(mask[:]))
		return uint8(ones % 32)
	}
	return uint8(getU32(mask[:]) % wholeAddressIP6)
}

func openNested(b []byte, typ uint16) []byte { return appendHeader(b, typ|attrNested, 0) }

func closeNested(b []byte, start int) []byte {
	putU16(b[start:], uint16(len(b)-start))
	return b
}

func appendHeader(b []byte, typ uint16, size int) []byte {
	var h [sizeAttr]byte
	putU16(h[:], uint16(sizeAttr+size))
	putU16(h[2:], typ)
	return append(b, h[:]...)
}

func appendU16(b []byte, typ, v uint16) []byte {
	var x [4]byte // two bytes and their padding
	putU16(x[:], v)
	return append(appendHeader(b, typ, 2), x[:]...)
}

func appendU32(b []byte, typ uint16, v uint32) []byte {
	var x [4]byte
	putU32(x[:], v)
	return append(appendHeader(b, typ, 4), x[:]...)
}

func appendPort(b []byte, typ, port uint16) []byte {
	return append(appendHeader(b, typ, 2), byte(port>>8), byte(port), 0, 0)
}

// appendAddr writes 16 bytes for both families; an IPv4 address is the first four.
func appendAddr(b []byte, typ uint16, a netip.Addr) []byte {
	var x [sizeAddrOnWire]byte
	if a.Is4() {
		v4 := a.As4()
		copy(x[:], v4[:])
	} else {
		x = a.As16()
	}
	return append(appendHeader(b, typ, len(x)), x[:]...)
}

// appendFlags writes struct ip_vs_flags: the flags and a mask of those that count, which is all of them.
func appendFlags(b []byte, f Flags) []byte {
	var x [8]byte
	putU32(x[:], uint32(f))
	putU32(x[4:], ^uint32(0))
	return append(appendHeader(b, svcAttrFlags, len(x)), x[:]...)
}

func appendString(b []byte, typ uint16, s string) []byte {
	b = appendHeader(b, typ, len(s)+1)
	b = append(append(b, s...), 0)
	for len(b)%alignment != 0 {
		b = append(b, 0)
	}
	return b
}
