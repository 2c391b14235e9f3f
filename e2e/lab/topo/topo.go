package topo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Devices of the hosts.
const (
	DevA    = "neta" // network A
	DevB    = "netb" // network B
	DevPods = "pods" // the bridge of a node's pods
)

// Topology is the whole network.
type Topology struct {
	Client, Node1, Node2 *Host

	fabric *Host        // the bridges of the networks A and B
	user   *userNetwork // nil until JoinUserNetwork

	mu      sync.Mutex
	pods    map[*Pod]bool
	servers map[*server]bool // of hosts
}

// New builds the network. The modules it needs are loaded by the kernel on demand.
func New(ctx context.Context) (*Topology, error) {
	t := &Topology{pods: map[*Pod]bool{}, servers: map[*server]bool{}}
	if err := t.build(ctx); err != nil {
		return nil, fmt.Errorf("build topology: %w", errors.Join(err, t.Close()))
	}
	return t, nil
}

// Close stops all pods and gives the network up. Programs that were started in it keep their namespaces alive.
func (t *Topology) Close() error {
	t.mu.Lock()
	pods, servers := t.pods, t.servers
	t.pods, t.servers = map[*Pod]bool{}, map[*server]bool{}
	t.mu.Unlock()
	for s := range servers {
		s.close()
	}
	var errs []error
	for p := range pods {
		errs = append(errs, p.close())
	}
	if t.user != nil {
		errs = append(errs, t.user.close())
	}
	for _, h := range []*Host{t.Client, t.Node1, t.Node2, t.fabric} {
		if h != nil {
			errs = append(errs, h.close())
		}
	}
	return errors.Join(errs...)
}

func (t *Topology) build(ctx context.Context) error {
	var err error
	if t.fabric, err = newHost("fabric"); err != nil {
		return err
	}
	for _, dev := range []string{DevA, DevB} {
		if err := t.fabric.addBridge(dev); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		host   **Host
		name   string
		last   int // of its addresses
		number int // of the node; 0: no node
	}{
		{&t.Client, "client", 0x02, 0}, {&t.Node1, "node1", 0x10, 1}, {&t.Node2, "node2", 0x11, 2},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if *m.host, err = newHost(m.name); err != nil {
			return err
		}
		if err := t.join(*m.host, m.last); err != nil {
			return err
		}
		if m.number > 0 {
			if err := (*m.host).becomeNode(m.number); err != nil {
				return err
			}
		}
	}
	return errors.Join(t.Node1.reachPodsOf(t.Node2), t.Node2.reachPodsOf(t.Node1))
}

// join connects a host to both networks. Its addresses end in the same digits in both families: .10 and ::10.
func (t *Topology) join(h *Host, last int) error {
	h.A4, h.A6 = netip.MustParseAddr(fmt.Sprintf("10.1.0.%x", last)), netip.MustParseAddr(fmt.Sprintf("fd01::%x", last))
	h.B4, h.B6 = netip.MustParseAddr(fmt.Sprintf("10.2.0.%x", last)), netip.MustParseAddr(fmt.Sprintf("fd02::%x", last))
	for _, n := range []struct {
		dev    string
		v4, v6 netip.Addr
	}{{DevA, h.A4, h.A6}, {DevB, h.B4, h.B6}} {
		if err := t.fabric.plug(h.Name+"-"+n.dev[3:], n.dev, h, n.dev); err != nil {
			return err
		}
		if err := h.AddAddress(n.dev, netip.PrefixFrom(n.v4, 24)); err != nil {
			return err
		}
		if err := h.AddAddress(n.dev, netip.PrefixFrom(n.v6, 64)); err != nil {
			return err
		}
	}
	return nil
}

// becomeNode makes a host forward and gives it a bridge for its pods.
func (h *Host) becomeNode(number int) error {
	h.number, h.nextPod = number, 2
	h.PodCIDRs = []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number)),
		netip.MustParsePrefix(fmt.Sprintf("fd44:%d::/64", number)),
	}
	for _, s := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := h.Sysctl(s, "1"); err != nil {
			return err
		}
	}
	if err := h.addBridge(DevPods); err != nil {
		return err
	}
	for _, p := range h.PodCIDRs {
		if err := h.AddAddress(DevPods, netip.PrefixFrom(p.Addr().Next(), p.Bits())); err != nil {
			return err
		}
	}
	return nil
}

// reachPodsOf adds routes to another node's pods, over network A.
func (h *Host) reachPodsOf(other *Host) error {
	return errors.Join(h.AddRoute(other.PodCIDRs[0], other.A4), h.AddRoute(other.PodCIDRs[1], other.A6))
}

// addBridge adds a bridge that is up from the start: it has a port. A bridge that goes up with its first cable is
// activated up to a second later (measured on Linux 6.1) and drops what is sent until then.
func (h *Host) addBridge(name string) error {
	snooping := false // neighbour discovery is multicast, and must work before any querier was heard
	// An address of its own: else the bridge has the lowest one of its ports, which changes when pods come and go, and
	// the neighbours would send to the old one for seconds.
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac}, MulticastSnooping: &snooping}
	port := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name + "-port"}}
	if err := errors.Join(h.links.LinkAdd(bridge), h.links.LinkAdd(port)); err != nil {
		return fmt.Errorf("add bridge %s to %s: %w", name, h.Name, err)
	}
	if err := h.links.LinkSetMaster(port, bridge); err != nil {
		return fmt.Errorf("put a port on %s of %s: %w", name, h.Name, err)
	}
	return errors.Join(h.up(port.Name), h.up(name))
}

// firstIndex keeps the indexes of a cable's two ends apart. Where they happen to be the same, the kernel takes the
// cable for a device that may wait, and activates it up to a second late (linkwatch_urgent_event, Linux 6.1).
const firstIndex = 1000

// plug connects a new device of another host to a bridge of this one. Both ends are up afterwards.
func (h *Host) plug(name, bridge string, other *Host, peer string) error {
	h.plugged++
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name, Index: firstIndex + h.plugged},
		PeerName:      peer,
		PeerNamespace: netlink.NsFd(other.ns),
	}
	if err := h.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("add %s to %s: %w", name, h.Name, err)
	}
	master, err := h.links.LinkByName(bridge)
	if err == nil {
		err = h.links.LinkSetMaster(veth, master)
	}
	if err != nil {
		return fmt.Errorf("put %s on %s of %s: %w", name, bridge, h.Name, err)
	}
	if err := errors.Join(other.up(peer), h.up(name)); err != nil {
		return err
	}
	return errors.Join(h.waitUp(name), other.waitUp(peer))
}

// upPatience is how long a device may take to be up. The kernel activates it in the background and drops what is sent
// until then: a datagram would be lost.
const upPatience = 10 * time.Second

func (h *Host) waitUp(dev string) error {
	for deadline := time.Now().Add(upPatience); ; time.Sleep(time.Millisecond) {
		link, err := h.links.LinkByName(dev)
		switch {
		case err != nil:
			return fmt.Errorf("wait for %s of %s: %w", dev, h.Name, err)
		case link.Attrs().OperState == netlink.OperUp:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s of %s is %s after %v", dev, h.Name, link.Attrs().OperState, upPatience)
		}
	}
}
