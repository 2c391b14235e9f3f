// Package frontend names what clients connect to: an address, a transport protocol and a port.
//
// A frontend is the key under which every other part of the agent keeps its share of a Service port: the virtual
// server in package ipvs, the set elements in package filter, the claim in package allocator. The package knows
// nothing else and imports nothing of the project.
package frontend

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Protocol is a transport protocol by its number in the IP header (IANA protocol numbers).
type Protocol uint8

// The protocols that a Service port may have and IPVS can balance.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Protocols lists the supported protocols in the order in which they are printed.
func Protocols() []Protocol { return []Protocol{TCP, UDP, SCTP} }

// String is the name in lower case, as nft and ipvsadm spell it; "proto-N" for a number without a name here.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "proto-" + strconv.Itoa(int(p))
}

// ParseProtocol reads tcp, udp or sctp in upper or lower case (Kubernetes writes TCP). Anything else is an error:
// the kernel would accept an unknown protocol silently and never balance a packet of it.
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range Protocols() {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("unknown protocol %q (TCP, UDP and SCTP can be balanced)", s)
}

// Key identifies a frontend. It is comparable; the address carries the family and is never 4-in-6 nor zoned.
type Key struct {
	Addr     netip.Addr
	Protocol Protocol
	Port     uint16
}

// NewKey is the key of addr, protocol and port with the address normalised: an IPv4-mapped IPv6 address becomes IPv4.
func NewKey(addr netip.Addr, protocol Protocol, port uint16) Key {
	return Key{Addr: addr.Unmap().WithZone(""), Protocol: protocol, Port: port}
}

// Validate reports what IPVS would accept without a word although no packet could ever match it.
func (k Key) Validate() error {
	var errs []error
	switch {
	case !k.Addr.IsValid():
		errs = append(errs, errors.New("no address"))
	case k.Addr.IsUnspecified(), k.Addr.IsMulticast():
		errs = append(errs, fmt.Errorf("address %s is not the address of one host", k.Addr))
	case k.Addr.Is4In6(), k.Addr.Zone() != "":
		errs = append(errs, fmt.Errorf("address %s is not in canonical form", k.Addr))
	}
	if k.Protocol != TCP && k.Protocol != UDP && k.Protocol != SCTP {
		errs = append(errs, fmt.Errorf("protocol %s cannot be balanced", k.Protocol))
	}
	if k.Port == 0 {
		errs = append(errs, errors.New("port 0"))
	}
	return errors.Join(errs...)
}

// AddrPort is the key without its protocol.
func (k Key) AddrPort() netip.AddrPort { return netip.AddrPortFrom(k.Addr, k.Port) }

// String is protocol://address:port, for example tcp://10.1.0.10:30080 or udp://[fd01::10]:30053.
func (k Key) String() string { return k.Protocol.String() + "://" + k.AddrPort().String() }

// ParseKey reads the form that String writes.
func ParseKey(s string) (Key, error) {
	name, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Key{}, fmt.Errorf("frontend %q: want PROTOCOL://ADDRESS:PORT", s)
	}
	p, err := ParseProtocol(name)
	if err != nil {
		return Key{}, fmt.Errorf("frontend %q: %w", s, err)
	}
	ap, err := netip.ParseAddrPort(rest)
	if err != nil {
		return Key{}, fmt.Errorf("frontend %q: %w", s, err)
	}
	return NewKey(ap.Addr(), p, ap.Port()), nil
}

// Compare orders keys by address (IPv4 before IPv6), then port, then protocol (TCP, UDP, SCTP).
func (k Key) Compare(o Key) int {
	return cmp.Or(k.Addr.Compare(o.Addr), cmp.Compare(k.Port, o.Port), cmp.Compare(k.Protocol, o.Protocol))
}
