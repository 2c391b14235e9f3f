package host

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Of linux/netfilter/nfnetlink_conntrack.h and net/netfilter/nf_internals.h what package nl lacks.
const (
	ctaFilter         = 25     // CTA_FILTER
	ctaTupleZone      = 3      // CTA_TUPLE_ZONE
	ctaFilterOriginal = 1      // CTA_FILTER_ORIG_FLAGS
	filterProtocol    = 1 << 3 // CTA_FILTER_F_CTA_PROTO_NUM
	filterPort        = 1 << 5 // CTA_FILTER_F_CTA_PROTO_DST_PORT
)

// flow is what a conntrack entry says of a flow.
type flow struct {
	// to is where the client sends.
	to frontend.Key
	// answers is where answers are expected from: the real server, or the node itself if nobody translated.
	answers netip.AddrPort
	// zoned: the entry stands in another zone than the common one.
	zoned bool
	// tuple and id name the entry to the kernel. The id keeps another entry for the same addresses and ports from being
	// taken for it, unless that stands at the same place in memory.
	tuple, id []byte
}

// dumpRequest asks for the UDP entries of a family. Linux before 5.8 knows no filter and lists all entries of the family.
func dumpRequest(f dumpFilter) *nl.NetlinkRequest {
	req := conntrackRequest(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, f.ipv4)
	tuple := nl.NewRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_ORIG, nil)
	proto := tuple.AddRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{byte(frontend.UDP)})
	flags := uint32(filterProtocol)
	if f.port != 0 {
		proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, f.port))
		flags |= filterPort
	}
	filter := nl.NewRtAttr(int(nl.NLA_F_NESTED)|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOriginal, binary.NativeEndian.AppendUint32(nil, flags))
	req.AddData(tuple)
	req.AddData(filter)
	return req
}

// deleteRequest names one entry. Without a tuple it would be a request to flush the whole table: decodeFlow returns no
// flow without one.
func deleteRequest(ipv4 bool, f flow) *nl.NetlinkRequest {
	req := conntrackRequest(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, ipv4)
	req.AddData(nl.NewRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_ORIG, f.tuple))
	req.AddData(nl.NewRtAttr(nl.CTA_ID, f.id))
	return req
}

func conntrackRequest(operation, flags int, ipv4 bool) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	family := uint8(unix.AF_INET6)
	if ipv4 {
		family = unix.AF_INET
	}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// decodeFlow reads an entry; false if it is none with addresses and ports. The flow refers to the message.
func decodeFlow(message []byte) (flow, bool) {
	if len(message) < nl.SizeofNfgenmsg {
		return flow{}, false
	}
	var f flow
	var to, answers tuple
	for kind, value := range attributes(message[nl.SizeofNfgenmsg:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			f.tuple, to = value, decodeTuple(value)
		case nl.CTA_TUPLE_REPLY:
			answers = decodeTuple(value)
		case nl.CTA_ZONE:
			f.zoned = true
		case nl.CTA_ID:
			f.id = value
		}
	}
	f.to = frontend.Key{Addr: to.dst, Protocol: to.protocol, Port: to.dstPort}
	f.answers = netip.AddrPortFrom(answers.src, answers.srcPort)
	f.zoned = f.zoned || to.zoned || answers.zoned
	return f, f.to.Addr.IsValid() && f.to.Port != 0 && f.answers.IsValid() && len(f.id) == 4
}

// tuple is one direction of an entry.
type tuple struct {
	src, dst         netip.Addr
	protocol         frontend.Protocol
	srcPort, dstPort uint16
	zoned            bool
}

func decodeTuple(b []byte) (t tuple) {
	for kind, value := range attributes(b) {
		switch kind {
		case nl.CTA_TUPLE_IP:
			for kind, value := range attributes(value) {
				addr, _ := netip.AddrFromSlice(value)
				switch kind {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					t.src = addr
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					t.dst = addr
				}
			}
		case nl.CTA_TUPLE_PROTO:
			for kind, value := range attributes(value) {
				switch {
				case kind == nl.CTA_PROTO_NUM && len(value) == 1:
					t.protocol = frontend.Protocol(value[0])
				case kind == nl.CTA_PROTO_SRC_PORT && len(value) == 2:
					t.srcPort = binary.BigEndian.Uint16(value)
				case kind == nl.CTA_PROTO_DST_PORT && len(value) == 2:
					t.dstPort = binary.BigEndian.Uint16(value)
				}
			}
		case ctaTupleZone:
			t.zoned = true
		}
	}
	return t
}

// attributes are the netlink attributes in b, up to one that is malformed.
func attributes(b []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			kind := int(binary.NativeEndian.Uint16(b[2:]) & nl.NLA_TYPE_MASK)
			if !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min(len(b), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}
