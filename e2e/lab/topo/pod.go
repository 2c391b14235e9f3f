package topo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Port is where a pod serves: HTTP and lines over TCP, datagrams over UDP, lines over SCTP.
const Port = 8080

// Pod is a namespace on a node's bridge with servers in it. As a Host it can be asked from.
type Pod struct {
	*Host
	Addr4, Addr6 netip.Addr

	t      *Topology
	node   *Host
	link   string // the node's end of its cable
	server *server
}

// PodOption changes what a pod or a host's server is.
type PodOption func(*podOptions)

type podOptions struct{ sctp bool }

// WithSCTP makes a pod serve SCTP too, for which the kernel needs the module sctp.
func WithSCTP() PodOption { return func(o *podOptions) { o.sctp = true } }

func optionsOf(options []PodOption) (o podOptions) {
	for _, option := range options {
		option(&o)
	}
	return o
}

// AddPod starts a pod on a node. It serves when AddPod returns. Each answer is its name and the client's address. No
// address is given out twice.
func (t *Topology) AddPod(ctx context.Context, node *Host, name string, options ...PodOption) (*Pod, error) {
	o := optionsOf(options)
	p := &Pod{t: t, node: node}
	t.mu.Lock()
	number := node.nextPod
	node.nextPod++
	t.mu.Unlock()
	p.link = fmt.Sprintf("pod%d", number)
	if err := p.start(ctx, name, number, o); err != nil {
		return nil, fmt.Errorf("add pod %s: %w", name, errors.Join(err, p.close()))
	}
	t.mu.Lock()
	t.pods[p] = true
	t.mu.Unlock()
	return p, nil
}

func (p *Pod) start(ctx context.Context, name string, number int, o podOptions) (err error) {
	if number > 254 {
		return errors.New("the node has no address left")
	}
	if p.Host, err = newHost(name); err != nil {
		return err
	}
	if err := p.node.plug(p.link, DevPods, p.Host, "eth0"); err != nil {
		return err
	}
	if err := p.node.hairpin(p.link); err != nil {
		return err
	}
	n := p.node.number
	p.Addr4 = netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", n, number))
	p.Addr6 = netip.MustParseAddr(fmt.Sprintf("fd44:%d::%d", n, number))
	cidr4, cidr6 := p.node.PodCIDRs[0], p.node.PodCIDRs[1]
	err = errors.Join(
		p.AddAddress("eth0", netip.PrefixFrom(p.Addr4, cidr4.Bits())),
		p.AddAddress("eth0", netip.PrefixFrom(p.Addr6, cidr6.Bits())),
		p.AddRoute(netip.PrefixFrom(netip.IPv4Unspecified(), 0), cidr4.Addr().Next()),
		p.AddRoute(netip.PrefixFrom(netip.IPv6Unspecified(), 0), cidr6.Addr().Next()),
	)
	if err != nil {
		return err
	}
	p.server, err = newServer(ctx, p.Host, name, o.sctp, netip.AddrPortFrom(netip.IPv6Unspecified(), Port)) // both families
	return err
}

// Shutdown stops accepting connections and waits until those there are have ended, or for ctx. Datagrams are no longer
// answered. The pod keeps its addresses: Close takes them.
func (p *Pod) Shutdown(ctx context.Context) error {
	if err := p.server.shutdown(ctx); err != nil {
		return fmt.Errorf("shut pod %s down: %w", p.Name, err)
	}
	return nil
}

// Close stops the pod at once and removes it.
func (p *Pod) Close() error {
	p.t.mu.Lock()
	there := p.t.pods[p]
	delete(p.t.pods, p)
	p.t.mu.Unlock()
	if !there {
		return nil
	}
	return p.close()
}

func (p *Pod) close() error {
	var errs []error
	if p.server != nil {
		p.server.close()
	}
	if link, err := p.node.links.LinkByName(p.link); err == nil {
		// Before the namespace, which may live on for a while: the address must be dead when Close returns.
		errs = append(errs, p.node.links.LinkDel(link))
	}
	if p.Host != nil {
		errs = append(errs, p.Host.close())
	}
	return errors.Join(errs...)
}
