package host

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Of linux/inet_diag.h, net/tcp_states.h and linux/socket.h what packages nl and unix lack.
const (
	sizeofDiagRequest   = 56 // struct inet_diag_req_v2
	sizeofDiagMessage   = 72 // struct inet_diag_msg
	diagV6Only          = 11 // INET_DIAG_SKV6ONLY
	diagLocals          = 12 // INET_DIAG_LOCALS
	stateClosed         = 7  // TCP_CLOSE: UDP that is not connected
	stateListen         = 10 // TCP_LISTEN
	sizeofSockaddrStore = 128
)

// diagRequest is struct inet_diag_req_v2.
type diagRequest [sizeofDiagRequest]byte

func (r *diagRequest) Len() int          { return len(r) }
func (r *diagRequest) Serialize() []byte { return r[:] }

// listenerRequest asks for the sockets of one family and protocol that take requests.
func listenerRequest(family uint8, protocol frontend.Protocol) *nl.NetlinkRequest {
	var r diagRequest
	r[0], r[1] = family, uint8(protocol)
	binary.NativeEndian.PutUint32(r[4:], 1<<listenerState(protocol))
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(&r)
	return req
}

func listenerState(protocol frontend.Protocol) uint8 {
	if protocol == frontend.UDP {
		return stateClosed
	}
	return stateListen
}

// appendListeners reads an answer: nothing is added if it is of a socket in another state, and several listeners if an SCTP
// socket has several addresses.
func appendListeners(all []Listener, message []byte, protocol frontend.Protocol) []Listener {
	if len(message) < sizeofDiagMessage || message[1] != listenerState(protocol) {
		return all
	}
	l := Listener{
		Port:     binary.BigEndian.Uint16(message[4:]),
		Protocol: protocol,
		Device:   binary.NativeEndian.Uint32(message[40:]),
		UID:      binary.NativeEndian.Uint32(message[64:]),
		Inode:    binary.NativeEndian.Uint32(message[68:]),
	}
	switch message[0] {
	case unix.AF_INET:
		l.Addr = netip.AddrFrom4([4]byte(message[8:12]))
	case unix.AF_INET6:
		l.Addr = netip.AddrFrom16([16]byte(message[8:24])).Unmap()
	default:
		return all
	}
	if l.Port == 0 {
		return all
	}
	v6Only := false
	var locals []netip.Addr
	for kind, value := range attributes(message[sizeofDiagMessage:]) {
		switch kind {
		case diagV6Only:
			v6Only = len(value) == 1 && value[0] != 0
		case diagLocals:
			locals = decodeAddrs(value)
		}
	}
	if len(locals) == 0 {
		locals = append(locals, l.Addr)
	}
	for _, l.Addr = range locals {
		// Of one address the kernel says this or that, by its protocol.
		l.V6Only = v6Only && l.Addr == netip.IPv6Unspecified()
		all = append(all, l)
	}
	return all
}

// decodeAddrs reads an array of struct sockaddr_storage.
func decodeAddrs(b []byte) (addrs []netip.Addr) {
	for ; len(b) >= sizeofSockaddrStore; b = b[sizeofSockaddrStore:] {
		switch binary.NativeEndian.Uint16(b) {
		case unix.AF_INET:
			addrs = append(addrs, netip.AddrFrom4([4]byte(b[4:8])))
		case unix.AF_INET6:
			addrs = append(addrs, netip.AddrFrom16([16]byte(b[8:24])).Unmap())
		}
	}
	return addrs
}
