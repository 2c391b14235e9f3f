//go:build kernel

package count_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/netfilter_ipv4/ip_tables.h.
const (
	iptBase        = 64
	iptInfo        = iptBase     // to get
	iptEntries     = iptBase + 1 // to get
	iptReplace     = iptBase     // to set
	sizeOfInfo     = 84          // struct ipt_getinfo
	sizeOfEntries  = 40          // struct ipt_get_entries without its entries
	sizeOfReplace  = 96          // struct ipt_replace without its entries
	sizeOfCounters = 16
)

// iptables replaces the table filter with itself, n times. There is no iptables in the guest.
func iptables(n int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	info := make([]byte, sizeOfInfo)
	copy(info, "filter")
	if err := sockopt(unix.SYS_GETSOCKOPT, s, iptInfo, info); err != nil {
		return fmt.Errorf("get info: %w", err)
	}
	number, size := binary.NativeEndian.Uint32(info[76:]), binary.NativeEndian.Uint32(info[80:])
	entries := make([]byte, sizeOfEntries+size)
	copy(entries, "filter")
	binary.NativeEndian.PutUint32(entries[32:], size)
	if err := sockopt(unix.SYS_GETSOCKOPT, s, iptEntries, entries); err != nil {
		return fmt.Errorf("get entries: %w", err)
	}
	counters := make([]byte, sizeOfCounters*number) // the kernel writes the old ones there
	replace := make([]byte, sizeOfReplace, sizeOfReplace+size)
	copy(replace, "filter")
	copy(replace[32:], info[32:36]) // hooks
	binary.NativeEndian.PutUint32(replace[36:], number)
	binary.NativeEndian.PutUint32(replace[40:], size)
	copy(replace[44:84], info[36:76]) // hook entries and underflows
	binary.NativeEndian.PutUint32(replace[84:], number)
	var pin runtime.Pinner
	pin.Pin(&counters[0])
	defer pin.Unpin()
	binary.NativeEndian.PutUint64(replace[88:], uint64(uintptr(unsafe.Pointer(&counters[0]))))
	replace = append(replace, entries[sizeOfEntries:]...)
	for range n {
		if err := sockopt(unix.SYS_SETSOCKOPT, s, iptReplace, replace); err != nil {
			return fmt.Errorf("replace: %w", err)
		}
	}
	return nil
}

func sockopt(call uintptr, socket, option int, value []byte) error {
	length := uint32(len(value))
	p := unsafe.Pointer(&value[0])
	var errno syscall.Errno
	if call == unix.SYS_GETSOCKOPT {
		_, _, errno = unix.Syscall6(call, uintptr(socket), unix.IPPROTO_IP, uintptr(option), uintptr(p), uintptr(unsafe.Pointer(&length)), 0)
	} else {
		_, _, errno = unix.Syscall6(call, uintptr(socket), unix.IPPROTO_IP, uintptr(option), uintptr(p), uintptr(length), 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}
