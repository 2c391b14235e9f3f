package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Listener is a socket that takes requests from anybody.
type Listener struct {
	// Addr is its address; the unspecified one is a wildcard. An IPv4-mapped IPv6 address is IPv4 here.
	Addr netip.Addr
	// V6Only is of IPv6 wildcards: one without it takes IPv4 too.
	V6Only   bool
	Port     uint16
	Protocol frontend.Protocol
	// Device is the index of the only interface that the socket takes requests from, 0 for all of them.
	Device uint32
	// Inode is the number of the socket, by which Owners finds its process.
	Inode uint32
	// UID is the user who made it.
	UID uint32
}

// Takes reports whether a request to an address is the socket's, if its port and protocol are, and if it comes by its
// Device.
func (l Listener) Takes(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	switch {
	case !l.Addr.IsUnspecified():
		return l.Addr == addr
	case l.Addr.Is4():
		return addr.Is4()
	}
	return addr.Is6() || addr.Is4() && !l.V6Only
}

// String is protocol://address:port, with "*" as the address of a wildcard for both families.
func (l Listener) String() string {
	if l.Addr.IsUnspecified() && l.Addr.Is6() && !l.V6Only {
		return fmt.Sprintf("%s://*:%d", l.Protocol, l.Port)
	}
	return l.Protocol.String() + "://" + netip.AddrPortFrom(l.Addr, l.Port).String()
}

// listenersTimeout is how long the kernel may take for one part of an answer.
const listenersTimeout = 5 * time.Second

// Listeners are the sockets of the calling thread's network namespace that take requests: TCP and SCTP in the state
// LISTEN, and UDP that is bound and not connected. The latter are those of servers, those of the kernel itself (VXLAN,
// WireGuard), and those of clients that never call connect, on ephemeral ports. Only sockets in these states are asked for:
// connections cost nothing, however many there are. It needs no privilege. SCTP sockets are found where the kernel has
// sctp_diag; without it there are none in the result, and no error. errors.Is(err, unix.ENOENT) means that it has no
// tcp_diag or udp_diag.
//
// A list that the kernel says was changed meanwhile comes with an error.
func Listeners(ctx context.Context) ([]Listener, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for listeners: %w", err)
	}
	defer s.Close()
	timeout := unix.NsecToTimeval(listenersTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
		return nil, fmt.Errorf("timeouts of the netlink socket for listeners: %w", err)
	}
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: s}}
	var all []Listener
	for _, protocol := range frontend.Protocols() {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("list %s listeners: %w", protocol, err)
			}
			req := listenerRequest(family, protocol)
			req.Sockets = sockets
			err := req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(message []byte) bool {
				all = appendListeners(all, message, protocol)
				return true
			})
			if errors.Is(err, unix.ENOENT) && protocol == frontend.SCTP {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("list %s listeners: %w", protocol, err)
			}
		}
	}
	return all, nil
}
