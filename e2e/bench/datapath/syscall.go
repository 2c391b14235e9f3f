package datapath

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of what is timed do not tell Go's runtime that they begin. It takes a thread's right to run Go code away when
// a system call takes longer than some 20 µs, as all of these do in an emulated machine, and looks for such threads every 20 µs as long as it
// finds any. None of these calls blocks. The memory that they are given must be on the heap, which does not move.

// sysSocket makes a TCP socket that does not block, in the network namespace of the calling thread.
func sysSocket(ipv4 bool) (int, error) {
	domain := unix.AF_INET6
	if ipv4 {
		domain = unix.AF_INET
	}
	return value(unix.RawSyscall(unix.SYS_SOCKET, uintptr(domain), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP))
}

// address is a sockaddr as the kernel takes it.
type address struct {
	raw  unix.RawSockaddrInet6 // the larger one
	size uintptr
}

func newAddress(at netip.AddrPort) *address {
	a := &address{}
	if at.Addr().Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, bigEndian(at.Port()), at.Addr().As4()
		a.size = unix.SizeofSockaddrInet4
		return a
	}
	a.raw.Family, a.raw.Port, a.raw.Addr = unix.AF_INET6, bigEndian(at.Port()), at.Addr().As16()
	a.size = unix.SizeofSockaddrInet6
	return a
}

func bigEndian(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

func sysConnect(fd int, to *address) error {
	_, err := value(unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to.raw)), to.size))
	return err
}

func sysAccept(listener int) (int, error) {
	return value(unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0))
}

func sysRead(fd int, b []byte) (int, error) {
	return value(unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

func sysWrite(fd int, b []byte) (int, error) {
	return value(unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

// sysReset makes the close of a connection a reset.
func sysReset(fd int, linger *unix.Linger) error {
	_, err := value(unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(linger)), unix.SizeofLinger, 0))
	return err
}

func sysClose(fd int) error {
	_, err := value(unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0))
	return err
}

func sysYield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

func value(n, _ uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
