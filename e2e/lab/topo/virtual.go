package topo

import (
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddVirtualAddress adds an address that moves between hosts, as keepalived does: with no network of its own (/32, /128),
// and for IPv6 deprecated, so that no connection of the host's own begins from it.
func (h *Host) AddVirtualAddress(dev string, addr netip.Addr) error {
	a := address(netip.PrefixFrom(addr, addr.BitLen()))
	if addr.Is6() {
		a.ValidLft, a.PreferedLft = math.MaxUint32, 0
	}
	link, err := h.links.LinkByName(dev)
	if err == nil {
		err = h.links.AddrAdd(link, a)
	}
	if err != nil {
		return fmt.Errorf("add %s to %s of %s: %w", addr, dev, h.Name, err)
	}
	return nil
}

// RemoveVirtualAddress undoes AddVirtualAddress.
func (h *Host) RemoveVirtualAddress(dev string, addr netip.Addr) error {
	return h.RemoveAddress(dev, netip.PrefixFrom(addr, addr.BitLen()))
}

// Announce tells the neighbours that an address is here now: by a gratuitous ARP request, or an unsolicited neighbour
// advertisement that overrides what they know.
func (h *Host) Announce(dev string, addr netip.Addr) error {
	link, err := h.links.LinkByName(dev)
	if err == nil {
		err = h.Do(func() error {
			if addr.Is4() {
				return gratuitousARP(link.Attrs(), addr)
			}
			return unsolicitedAdvertisement(link.Attrs(), addr)
		})
	}
	if err != nil {
		return fmt.Errorf("announce %s on %s of %s: %w", addr, dev, h.Name, err)
	}
	return nil
}

// gratuitousARP asks for the address in the name of the address (RFC 5227, section 3).
func gratuitousARP(link *netlink.LinkAttrs, addr netip.Addr) error {
	const ethernet, request = 1, 1
	arp := []byte{0, ethernet, unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff, 6, 4, 0, request}
	arp = append(arp, link.HardwareAddr...)
	arp = append(arp, addr.AsSlice()...)
	arp = append(arp, make(net.HardwareAddr, 6)...)
	arp = append(arp, addr.AsSlice()...)

	const protocol = unix.ETH_P_ARP>>8 | unix.ETH_P_ARP&0xff<<8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index, Halen: 6}
	copy(to.Addr[:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	return unix.Sendto(fd, arp, 0, to)
}

// unsolicitedAdvertisement is RFC 4861, section 7.2.6. The kernel fills in the checksum.
func unsolicitedAdvertisement(link *netlink.LinkAttrs, addr netip.Addr) error {
	const neighbourAdvertisement, override, targetLinkAddress = 136, 0x20, 2
	na := []byte{neighbourAdvertisement, 0, 0, 0, override, 0, 0, 0}
	na = append(na, addr.AsSlice()...)
	na = append(na, targetLinkAddress, 1)
	na = append(na, link.HardwareAddr...)

	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Neighbours drop what may have crossed a router.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	allNodes := netip.MustParseAddr("ff02::1")
	return unix.Sendto(fd, na, 0, &unix.SockaddrInet6{Addr: allNodes.As16(), ZoneId: uint32(link.Index)})
}
