package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// IPVS has two interfaces. The old one, socket options (include/uapi/linux/ip_vs.h), knows IPv4 alone, but tells with one short system call
// what generic netlink needs three for, and, of each virtual server, how many real servers it has. It answers under the lock that every
// write takes, so each answer is a snapshot.
const (
	optInfo     = 64 + 1024 + 64 + 1 // IP_VS_SO_GET_INFO
	optServices = optInfo + 1
	optService  = optInfo + 2
	optDests    = optInfo + 3
)

// Sizes and offsets of the structures where 64-bit integers are aligned to 8 bytes.
const (
	sizeInfo      = 12
	infoNumber    = 8 // of virtual servers, IPv4
	sizeService   = 104
	servicesEntry = 8 // where the table of ip_vs_get_services begins
	servicePort   = 8
	serviceReals  = 44
	sizeDest      = 96
	destsNumber   = 16 // of ip_vs_get_dests, and where its table begins
	destsEntry    = 24
	destWeight    = 12
	sizeIPv4      = 4
	addrOffset    = 4
	destAddr      = 0
	destPort      = 4
)

// spare is room for real servers that are added between the two questions for them.
const spare = 64

// options asks by a socket of any kind.
type options struct {
	fd int
}

// openOptions opens a socket in the namespace of the thread, where it stays.
func openOptions() (options, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return options{}, fmt.Errorf("open a socket: %w", err)
	}
	return options{fd}, nil
}

func (o options) close() error { return unix.Close(o.fd) }

func (o options) get(option int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(o.fd), unix.IPPROTO_IP, uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// count is the number of virtual servers. Its cost does not depend on how many there are.
func (o options) count() (int, error) {
	var b [sizeInfo]byte
	if err := o.get(optInfo, b[:]); err != nil {
		return 0, fmt.Errorf("number of virtual servers: %w", err)
	}
	return int(binary.NativeEndian.Uint32(b[infoNumber:])), nil
}

// all is how many real servers every virtual server has, at one moment.
func (o options) all() (map[frontend.Key]int, error) {
	n, err := o.count()
	if err != nil {
		return nil, err
	}
	b := make([]byte, servicesEntry+n*sizeService)
	binary.NativeEndian.PutUint32(b, uint32(n))
	if err := o.get(optServices, b); err != nil {
		return nil, fmt.Errorf("virtual servers: %w", err)
	}
	table := make(map[frontend.Key]int, n)
	for b = b[servicesEntry:]; len(b) > 0; b = b[sizeService:] {
		if binary.NativeEndian.Uint16(b) == 0 { // a firewall mark's, or one that is gone
			continue
		}
		at := addrPort(b[addrOffset:], b[servicePort:])
		key := frontend.NewKey(at.Addr(), frontend.Protocol(binary.NativeEndian.Uint16(b)), at.Port())
		table[key] = int(binary.NativeEndian.Uint32(b[serviceReals:]))
	}
	return table, nil
}

// reals is how many real servers a virtual server has, 0 if there is none.
func (o options) reals(key frontend.Key) (int, error) {
	var b [sizeService]byte
	if err := putKey(b[:], key); err != nil {
		return 0, err
	}
	err := o.get(optService, b[:])
	if errors.Is(err, unix.ESRCH) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("virtual server %s: %w", key, err)
	}
	return int(binary.NativeEndian.Uint32(b[serviceReals:])), nil
}

// has says whether a virtual server has all of these real servers, each with a weight.
func (o options) has(key frontend.Key, all []netip.AddrPort, buf []byte) (bool, error) {
	clear(buf)
	if err := putKey(buf, key); err != nil {
		return false, err
	}
	number := (len(buf) - destsEntry) / sizeDest
	binary.NativeEndian.PutUint32(buf[destsNumber:], uint32(number))
	err := o.get(optDests, buf)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("real servers of %s: %w", key, err)
	}
	found := 0
	for b := buf[destsEntry:]; len(b) > 0; b = b[sizeDest:] {
		if binary.NativeEndian.Uint32(b[destWeight:]) > 0 && slices.Contains(all, addrPort(b[destAddr:], b[destPort:])) {
			found++
		}
	}
	return found == len(all), nil
}

// room is a buffer for has.
func room(reals int) []byte { return make([]byte, destsEntry+(reals+spare)*sizeDest) }

// putKey writes protocol, address and port, which the requests begin with.
func putKey(b []byte, key frontend.Key) error {
	if !key.Addr.Is4() {
		return fmt.Errorf("%s: socket options know IPv4 alone", key)
	}
	binary.NativeEndian.PutUint16(b, uint16(key.Protocol))
	addr := key.Addr.As4()
	copy(b[addrOffset:], addr[:])
	binary.BigEndian.PutUint16(b[servicePort:], key.Port)
	return nil
}

func addrPort(addr, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:sizeIPv4])), binary.BigEndian.Uint16(port))
}
