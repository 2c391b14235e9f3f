package ipvs

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// procTable is what /proc/net/ip_vs has of real servers, by virtual server.
type procTable[T any] map[frontend.Key]map[netip.AddrPort]T

// parseProc reads the real servers out of /proc/net/ip_vs:
//
//	IP Virtual Server version 1.2.1 (size=4096)
//	Prot LocalAddress:Port Scheduler Flags
//	  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
//	TCP  0A01000A:7580 wrr persistent 300 FFFFFFFF
//	  -> 0AF40102:1F90      Masq    1      0          0
//	UDP  [fd01:0000:0000:0000:0000:0000:0000:0010]:7581 rr
//	  -> [fd02:0000:0000:0000:0000:0000:0000:0002]:0035      Masq    1      0          0
//
// What is kept of each is up to value, which gets the real server and what follows its weight. What the file leaves out
// is what this leaves out: of virtual servers scheduler flags, prefixes and, for IPv6, one-packet scheduling, so that
// nothing but their key is read; of real servers the thresholds, which stay 0. Virtual servers with a firewall mark and
// those of other protocols than the three are passed over with their real servers. A virtual server that comes twice is
// merged.
func parseProc[T any](r io.Reader, value func(real RealServer, rest []byte) (T, error)) (procTable[T], error) {
	p := procParser[T]{table: procTable[T]{}, value: value}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), 64<<10)
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if n <= 3 {
			if n == 1 && !bytes.HasPrefix(line, []byte("IP Virtual Server version ")) {
				return nil, fmt.Errorf("line 1: %q is not the header of an IPVS table", line)
			}
			continue
		}
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	p.flush()
	return p.table, lines.Err()
}

// procParser gathers the real servers of one virtual server before it makes their map, which is of the right size then.
type procParser[T any] struct {
	table procTable[T]
	value func(RealServer, []byte) (T, error)
	key   frontend.Key // the virtual server last seen
	ours  bool         // false when that one is passed over
	found []procReal[T]
}

type procReal[T any] struct {
	key   netip.AddrPort
	value T
}

func (p *procParser[T]) line(line []byte) error {
	after, isReal := bytes.CutPrefix(line, []byte("  -> "))
	if !isReal {
		p.flush()
		var err error
		p.key, p.ours, err = parseProcVirtual(line)
		return err
	}
	if !p.ours {
		return nil
	}
	key, real, rest, err := parseProcReal(after)
	if err != nil {
		return err
	}
	v, err := p.value(real, rest)
	if err != nil {
		return fmt.Errorf("real server %s: %w", key, err)
	}
	p.found = append(p.found, procReal[T]{key, v})
	return nil
}

// flush puts the virtual server last seen into the table.
func (p *procParser[T]) flush() {
	if !p.ours {
		return
	}
	reals := p.table[p.key]
	if reals == nil {
		reals = make(map[netip.AddrPort]T, len(p.found))
		p.table[p.key] = reals
	}
	for _, f := range p.found {
		reals[f.key] = f.value
	}
	p.found, p.ours = p.found[:0], false
}

// procUse keeps the weight of a real server and reads its connections.
func procUse(real RealServer, rest []byte) (RealUse, error) {
	word, rest := cutWord(rest)
	active, err := parseProcCount(word)
	if err != nil {
		return RealUse{}, fmt.Errorf("active connections %q: %w", word, err)
	}
	word, _ = cutWord(rest)
	inactive, err := parseProcCount(word)
	if err != nil {
		return RealUse{}, fmt.Errorf("inactive connections %q: %w", word, err)
	}
	return RealUse{Weight: real.Weight, Connections: Connections{Active: active, Inactive: inactive}}, nil
}

// parseProcCount reads a count as the kernel prints it, which is with a sign.
func parseProcCount(word []byte) (uint32, error) {
	n, err := strconv.ParseInt(string(word), 10, 32)
	return connections(uint32(n)), err
}

// parseProcVirtual reads the key of a line like "TCP  0A01000A:7580 wrr "; ours is false for what is passed over.
func parseProcVirtual(line []byte) (key frontend.Key, ours bool, err error) {
	word, rest := cutWord(line)
	var protocol frontend.Protocol
	switch string(word) {
	case "TCP":
		protocol = frontend.TCP
	case "UDP":
		protocol = frontend.UDP
	case "SCTP":
		protocol = frontend.SCTP
	case "":
		return key, false, fmt.Errorf("%q is no virtual server", line)
	default:
		return key, false, nil
	}
	word, _ = cutWord(rest)
	addr, err := parseProcAddr(word)
	if err != nil {
		return key, false, err
	}
	return frontend.Key{Addr: addr.Addr(), Protocol: protocol, Port: addr.Port()}, true, nil
}

// inProc reports whether parseProc keeps virtual servers of a protocol.
func inProc(p frontend.Protocol) bool { return slices.Contains(frontend.Protocols(), p) }

// parseProcReal reads what follows the arrow in a line like "  -> 0AF40102:1F90      Masq    1      0          0", up to the
// weight.
func parseProcReal(line []byte) (key netip.AddrPort, real RealServer, rest []byte, err error) {
	word, rest := cutWord(line)
	if key, err = parseProcAddr(word); err != nil {
		return key, real, nil, err
	}
	word, rest = cutWord(rest)
	switch string(word) {
	case "Masq":
		real.Forwarding = Masquerade
	case "Local":
		real.Forwarding = Local
	case "Tunnel":
		real.Forwarding = Tunnel
	case "Route":
		real.Forwarding = Route
	default:
		return key, real, nil, fmt.Errorf("unknown forwarding method %q", word)
	}
	word, rest = cutWord(rest)
	weight, err := strconv.ParseUint(string(word), 10, 31)
	if err != nil {
		return key, real, nil, fmt.Errorf("weight %q: %w", word, err)
	}
	real.Weight = uint32(weight)
	return key, real, rest, nil
}

// parseProcAddr reads an address and a port in hexadecimal, that of IPv6 in brackets and always with all of its digits.
func parseProcAddr(s []byte) (netip.AddrPort, error) {
	colon := bytes.LastIndexByte(s, ':')
	if colon < 0 {
		return netip.AddrPort{}, fmt.Errorf("address %q has no port", s)
	}
	port, err := strconv.ParseUint(string(s[colon+1:]), 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of %q: %w", s, err)
	}
	host := s[:colon]
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		addr, ok := parseProcAddr6(host[1 : len(host)-1])
		if !ok {
			return netip.AddrPort{}, fmt.Errorf("address of %q is not an IPv6 address", s)
		}
		return netip.AddrPortFrom(addr, uint16(port)), nil
	}
	v, err := strconv.ParseUint(string(host), 16, 32)
	if err != nil || len(host) != 8 {
		return netip.AddrPort{}, fmt.Errorf("address of %q is not an IPv4 address", s)
	}
	addr := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// parseProcAddr6 reads an IPv6 address of which every digit is written out.
func parseProcAddr6(s []byte) (netip.Addr, bool) {
	const groups, digits = 8, 4
	if len(s) != groups*(digits+1)-1 {
		return netip.Addr{}, false
	}
	var text [groups * digits]byte
	for i := range groups {
		if i > 0 && s[i*(digits+1)-1] != ':' {
			return netip.Addr{}, false
		}
		copy(text[i*digits:], s[i*(digits+1):][:digits])
	}
	var addr [sizeAddrOnWire]byte
	_, err := hex.Decode(addr[:], text[:])
	return netip.AddrFrom16(addr), err == nil
}

// cutWord cuts the first word off b, and the blanks before it.
func cutWord(b []byte) (word, rest []byte) {
	b = bytes.TrimLeft(b, " ")
	if end := bytes.IndexByte(b, ' '); end >= 0 {
		return b[:end], b[end:]
	}
	return b, nil
}
