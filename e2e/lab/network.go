package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The user-mode network of a guest. There is no default route: the guest reaches the host's loopback and nothing else.
const (
	NetworkDevice = "eth0"
	GuestAddress  = "10.0.2.15" // of NetworkDevice
	HostAddress   = "10.0.2.2"  // a connection to it is one to the same port of the host's 127.0.0.1
	NetworkBits   = 24
)

// Network connects a guest with the host's loopback, TCP and UDP over IPv4.
type Network struct {
	// Forward is a TCP port at GuestAddress that a port of the host's loopback leads to; 0 is none.
	Forward uint16
	// Forwarded is told that port of the host's before the first step starts; may be nil. QEMU accepts connections to it
	// before anybody in the guest listens, and closes them then: ask again.
	Forwarded func(netip.AddrPort)
}

// checkNetwork refuses a step for a network that is not there: it would run in the namespace of whoever runs it.
func checkNetwork(job Job, there bool) error {
	for _, s := range job.Steps {
		if s.Network && !there {
			return fmt.Errorf("step %s needs a guest with a network", s.Name)
		}
	}
	return nil
}

// args returns QEMU's part of the command line.
func (n *Network) args() []string {
	netdev := "user,id=net,ipv6=off"
	if n.Forward != 0 {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-%s:%d", GuestAddress, n.Forward) // the kernel chooses the port
	}
	return []string{"-netdev", netdev, "-device", "virtio-net-pci,netdev=net,romfile="}
}

// forwarded tells the user which port the kernel chose. QEMU listens on no other.
func (n *Network) forwarded(qemu int) error {
	if n.Forward == 0 || n.Forwarded == nil {
		return nil
	}
	at, err := listeningOn(filepath.Join("/proc", strconv.Itoa(qemu)))
	if err != nil {
		return fmt.Errorf("find QEMU's forwarded port: %w", err)
	}
	n.Forwarded(at)
	return nil
}

// listeningOn returns where a process, by its directory in /proc, listens for TCP over IPv4.
func listeningOn(proc string) (netip.AddrPort, error) {
	table, err := os.ReadFile(filepath.Join(proc, "net", "tcp"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	sockets, err := filepath.Glob(filepath.Join(proc, "fd", "*"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	listeners := tcpListeners(string(table))
	for _, fd := range sockets {
		target, err := os.Readlink(fd)
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return netip.AddrPort{}, err
		}
		if at, ok := listeners[target]; ok {
			return at, nil
		}
	}
	return netip.AddrPort{}, errors.New("no listening socket")
}

// tcpListeners reads the listening sockets out of /proc/net/tcp, by the names that /proc/PID/fd has for them.
func tcpListeners(table string) map[string]netip.AddrPort {
	const local, state, inode, listen = 1, 3, 9, "0A"
	found := map[string]netip.AddrPort{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) <= inode || f[state] != listen {
			continue
		}
		addr, port, _ := strings.Cut(f[local], ":")
		a, err1 := strconv.ParseUint(addr, 16, 32) // in the order of a little-endian machine, as guests are amd64
		p, err2 := strconv.ParseUint(port, 16, 16)
		if err1 != nil || err2 != nil {
			continue // the heading
		}
		ip := netip.AddrFrom4([4]byte{byte(a), byte(a >> 8), byte(a >> 16), byte(a >> 24)})
		found["socket:["+f[inode]+"]"] = netip.AddrPortFrom(ip, uint16(p))
	}
	return found
}
