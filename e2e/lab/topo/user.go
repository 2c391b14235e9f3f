package topo

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// DevUser is the device of nodes in the guest's user-mode network.
const DevUser = "user"

// userNetwork is a bridge in this process's own namespace between the guest's device and those of the nodes. QEMU
// answers any neighbour in its network, so nothing is routed or masqueraded.
type userNetwork struct {
	here  *Host
	ports []string
}

// JoinUserNetwork gives the nodes a device in the guest's user-mode network (lab.Network), through which they reach
// the host's loopback at lab.HostAddress: Node1 is 10.0.2.21, Node2 10.0.2.22. This process, whose step must be for
// the network, keeps lab.GuestAddress, where the host's forwarded port leads.
func (t *Topology) JoinUserNetwork() error {
	if t.user != nil {
		return nil
	}
	u, err := newUserNetwork()
	if err != nil {
		return fmt.Errorf("join user network: %w", err)
	}
	t.user = u
	for _, node := range []*Host{t.Node1, t.Node2} {
		if err := u.join(node); err != nil {
			return fmt.Errorf("join user network: %w", err)
		}
	}
	return nil
}

func newUserNetwork() (*userNetwork, error) {
	u := &userNetwork{here: &Host{Name: "the guest", ns: netns.None()}}
	var err error
	if u.here.ns, err = netns.Get(); err == nil {
		u.here.links, err = netlink.NewHandleAt(u.here.ns, unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = u.here.bridgeUserNetwork()
	}
	if err != nil {
		return nil, errors.Join(err, u.here.close())
	}
	return u, nil
}

// guestPrefix is what the guest's device has from its init.
func guestPrefix() netip.Prefix {
	return netip.PrefixFrom(netip.MustParseAddr(lab.GuestAddress), lab.NetworkBits)
}

// bridgeUserNetwork puts the guest's device on a bridge that has its addresses, so that nobody has to learn anew.
func (h *Host) bridgeUserNetwork() error {
	device, err := h.links.LinkByName(lab.NetworkDevice)
	if err != nil {
		return fmt.Errorf("device %s (is the step for the network?): %w", lab.NetworkDevice, err)
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: DevUser, HardwareAddr: device.Attrs().HardwareAddr}}
	if err := h.links.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", DevUser, err)
	}
	if err := h.links.LinkSetMaster(device, bridge); err != nil {
		return fmt.Errorf("put %s on bridge %s: %w", lab.NetworkDevice, DevUser, err)
	}
	return errors.Join(
		h.RemoveAddress(lab.NetworkDevice, guestPrefix()),
		h.AddAddress(DevUser, guestPrefix()),
		h.up(DevUser),
		h.waitUp(DevUser),
	)
}

func (u *userNetwork) join(node *Host) error {
	port := node.Name + "-" + DevUser
	u.ports = append(u.ports, port)
	if err := u.here.plug(port, DevUser, node, DevUser); err != nil {
		return err
	}
	address := netip.AddrFrom4([4]byte{10, 0, 2, byte(20 + node.number)})
	return node.AddAddress(DevUser, netip.PrefixFrom(address, lab.NetworkBits))
}

// close leaves the guest's device as it was found.
func (u *userNetwork) close() error {
	var errs []error
	for _, name := range append(u.ports, DevUser) {
		link, err := u.here.links.LinkByName(name)
		if err == nil {
			err = u.here.links.LinkDel(link)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	return errors.Join(append(errs, u.here.AddAddress(lab.NetworkDevice, guestPrefix()), u.here.close())...)
}
