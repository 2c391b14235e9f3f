package nodeaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// dumpTimeout is how long the kernel may take for one part of a listing.
	dumpTimeout = 5 * time.Second
	// dumpAttempts bounds the repetitions of a listing that changes came in between of.
	dumpAttempts = 10
	// skipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h: no counters in a listing of links.
	skipStats = 1 << 3
)

// subscribe opens a socket that is told each change of links and addresses in ns. One socket for all of them, so that
// the order in which the kernel made the changes is kept.
func subscribe(ns netns.NsHandle, buffer int) (*nl.NetlinkSocket, error) {
	s, err := nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("subscribe to addresses: %w", err)
	}
	// Only CAP_NET_ADMIN may go beyond net.core.rmem_max; without it the buffer is what the host allows.
	if err := s.SetReceiveBufferSize(buffer, true); err != nil {
		if err := s.SetReceiveBufferSize(buffer, false); err != nil {
			s.Close()
			return nil, fmt.Errorf("subscribe to addresses: receive buffer: %w", err)
		}
	}
	return s, nil
}

// list reads all links and addresses of ns. Links come first: an address without its link says nothing.
func list(ns netns.NsHandle) (table, error) {
	s, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return table{}, fmt.Errorf("list addresses: %w", err)
	}
	defer s.Close()
	timeout := unix.NsecToTimeval(dumpTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
		return table{}, fmt.Errorf("list addresses: %w", err)
	}
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	t := newTable()
	if err := dump(sockets, unix.RTM_GETLINK, unix.RTM_NEWLINK, t); err != nil {
		return table{}, fmt.Errorf("list links: %w", err)
	}
	if err := dump(sockets, unix.RTM_GETADDR, unix.RTM_NEWADDR, t); err != nil {
		return table{}, fmt.Errorf("list addresses: %w", err)
	}
	return t, nil
}

// dump reads one kind of object into t. A dump that the kernel marks as interrupted may lack entries that were there
// all the time, so it is repeated.
func dump(sockets map[int]*nl.SocketHandle, get, want uint16, t table) error {
	for range dumpAttempts {
		req := nl.NewNetlinkRequest(int(get), unix.NLM_F_DUMP)
		req.Sockets = sockets
		if get == unix.RTM_GETLINK {
			req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
			req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
		} else {
			req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		}
		messages, err := req.Execute(unix.NETLINK_ROUTE, want)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range messages {
			e, err := decode(want, m)
			if err != nil {
				return err
			}
			if e != nil {
				e.apply(t)
			}
		}
		return nil
	}
	return fmt.Errorf("%w %d times", netlink.ErrDumpInterrupted, dumpAttempts)
}

// decode reads the body of one message. A message that says nothing about links or addresses gives no event.
func decode(messageType uint16, body []byte) (event, error) {
	switch messageType {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return decodeLink(messageType, body)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return decodeAddr(messageType, body)
	}
	return nil, nil
}

func decodeLink(messageType uint16, body []byte) (event, error) {
	if len(body) < unix.SizeofIfInfomsg {
		return nil, fmt.Errorf("link message of %d bytes", len(body))
	}
	msg := nl.DeserializeIfInfomsg(body)
	// A bridge tells about its ports in the same group: there DELLINK means that the port has left the bridge.
	if msg.Family != unix.AF_UNSPEC {
		return nil, nil
	}
	if messageType == unix.RTM_DELLINK {
		return linkGone{index: msg.Index}, nil
	}
	attrs, err := attributes(body[unix.SizeofIfInfomsg:])
	if err != nil {
		return nil, fmt.Errorf("link message: %w", err)
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_IFNAME {
			return linkAdded{index: msg.Index, name: unix.ByteSliceToString(a.Value)}, nil
		}
	}
	return nil, fmt.Errorf("link %d without a name", msg.Index)
}

func decodeAddr(messageType uint16, body []byte) (event, error) {
	if len(body) < unix.SizeofIfAddrmsg {
		return nil, fmt.Errorf("address message of %d bytes", len(body))
	}
	msg := nl.DeserializeIfAddrmsg(body)
	if msg.Family != unix.AF_INET && msg.Family != unix.AF_INET6 {
		return nil, nil
	}
	attrs, err := attributes(body[unix.SizeofIfAddrmsg:])
	if err != nil {
		return nil, fmt.Errorf("address message: %w", err)
	}
	var local, address netip.Addr
	flags := uint32(msg.Flags) // the first eight bits; IFA_FLAGS has all of them
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_FLAGS:
			if len(a.Value) == 4 {
				flags = nl.NativeEndian().Uint32(a.Value)
			}
		}
	}
	// IPv6 without a peer has IFA_ADDRESS only. Where both stand, IFA_ADDRESS is the peer's address, which on a broadcast
	// link is the address itself.
	if !local.IsValid() {
		local = address
	}
	if !local.IsValid() {
		return nil, fmt.Errorf("address message for link %d without an address", msg.Index)
	}
	key := addrKey{link: int32(msg.Index), prefix: netip.PrefixFrom(local.Unmap(), int(msg.Prefixlen)), peer: address}
	if messageType == unix.RTM_DELADDR {
		return addrGone{key: key}, nil
	}
	return addrAdded{key: key, state: decodeState(msg.Family, flags)}, nil
}

// attributes parses the attributes of a message. The library takes it for granted that the last one is padded to four
// bytes, as the kernel's are.
func attributes(body []byte) ([]syscall.NetlinkRouteAttr, error) {
	if rest := len(body) % unix.NLMSG_ALIGNTO; rest != 0 {
		body = append(slices.Clip(body), make([]byte, unix.NLMSG_ALIGNTO-rest)...)
	}
	return nl.ParseRouteAttr(body)
}

// decodeState takes the flags that matter. Of the low ones only those of IPv6 are meant: 0x01 is "secondary" for IPv4,
// an address like any other.
func decodeState(family uint8, flags uint32) State {
	var s State
	for _, f := range []struct {
		flag  uint32
		state State
	}{
		{unix.IFA_F_DEPRECATED, Deprecated},
		{unix.IFA_F_TENTATIVE, Tentative},
		{unix.IFA_F_OPTIMISTIC, Optimistic},
		{unix.IFA_F_DADFAILED, DADFailed},
		{unix.IFA_F_TEMPORARY, Temporary},
	} {
		if flags&f.flag != 0 && (family == unix.AF_INET6 || f.state == Deprecated) {
			s |= f.state
		}
	}
	return s
}
