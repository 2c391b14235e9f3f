package topo

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a network namespace: a machine, or a pod.
type Host struct {
	Name string
	// Addresses on the networks A and B; zero for pods.
	A4, A6, B4, B6 netip.Addr
	// PodCIDRs are the networks of a node's pods; nil for others.
	PodCIDRs []netip.Prefix

	ns      netns.NsHandle
	here    bool // this process's own namespace, which nobody has to enter
	links   *netlink.Handle
	number  int // of the node
	nextPod int
	plugged int // cables

	sourcePorts sourcePorts
}

// newHost makes a namespace with lo up and without duplicate address detection.
func newHost(name string) (*Host, error) {
	h := &Host{Name: name, ns: netns.None()}
	err := onThread(func() error {
		ns, err := netns.New() // the thread moves there; onThread brings it back
		h.ns = ns
		return err
	})
	if err == nil {
		h.links, err = netlink.NewHandleAt(h.ns, unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = h.up("lo")
	}
	for _, s := range []string{"net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad"} {
		if err == nil {
			err = h.Sysctl(s, "0")
		}
	}
	if err == nil {
		// Its default is 1 as soon as any test has loaded br_netfilter: tests must not depend on their order.
		if err = h.bridgeNetfilter("0"); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	return h, nil
}

// close gives the namespace up. It ends with the last socket and process in it.
func (h *Host) close() error {
	if h.links != nil {
		h.links.Close()
	}
	if !h.ns.IsOpen() {
		return nil
	}
	return h.ns.Close()
}

// Do runs f on a thread in the host's namespace. Sockets that f makes belong there for good; goroutines that f starts
// do not run there.
func (h *Host) Do(f func() error) error {
	if h.here {
		return f()
	}
	return onThread(func() error {
		if err := netns.Set(h.ns); err != nil {
			return fmt.Errorf("enter namespace of %s: %w", h.Name, err)
		}
		return f()
	})
}

// onThread runs f, which may move its thread to another network namespace, and moves the thread back.
func onThread(f func() error) error {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer before.Close()
	err = f()
	if back := netns.Set(before); back != nil {
		// The thread stays locked, so that nobody else runs on it in the wrong namespace.
		return errors.Join(err, fmt.Errorf("return to own network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// AddAddress adds an address to a device, usable at once.
func (h *Host) AddAddress(dev string, p netip.Prefix) error {
	link, err := h.links.LinkByName(dev)
	if err == nil {
		err = h.links.AddrAdd(link, address(p))
	}
	if err != nil {
		return fmt.Errorf("add %s to %s of %s: %w", p, dev, h.Name, err)
	}
	return nil
}

// RemoveAddress removes an address from a device.
func (h *Host) RemoveAddress(dev string, p netip.Prefix) error {
	link, err := h.links.LinkByName(dev)
	if err == nil {
		err = h.links.AddrDel(link, address(p))
	}
	if err != nil {
		return fmt.Errorf("remove %s from %s of %s: %w", p, dev, h.Name, err)
	}
	return nil
}

// AddRoute adds a route through a gateway.
func (h *Host) AddRoute(to netip.Prefix, via netip.Addr) error {
	err := h.links.RouteAdd(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("add route to %s via %s on %s: %w", to, via, h.Name, err)
	}
	return nil
}

// Sysctl sets a sysctl of the namespace, by its path below /proc/sys or with dots.
func (h *Host) Sysctl(name, value string) error {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	err := h.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
	})
	if err != nil {
		return fmt.Errorf("set sysctl on %s: %w", h.Name, err)
	}
	return nil
}

func (h *Host) up(dev string) error {
	link, err := h.links.LinkByName(dev)
	if err == nil {
		err = h.links.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bring %s up: %w", dev, err)
	}
	return nil
}

func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
