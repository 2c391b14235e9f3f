package topo

import (
	"context"
	"fmt"
	"net/netip"
)

// HostServer serves on a node's own addresses, as a pod with hostNetwork does. It ends with the topology.
type HostServer struct {
	Name         string
	Node         *Host
	Addr4, Addr6 netip.Addr // the node's on network A
	Port         uint16
}

// AddHostServer starts a server on the addresses of a node on network A. It answers as a pod does, by its own name.
//
// It does not listen on the unspecified address: such a server answers a datagram from the address of the route to the
// client, not from the one it was asked at, and neither IPVS nor conntrack knows that answer for one.
func (t *Topology) AddHostServer(ctx context.Context, node *Host, name string, port uint16, options ...PodOption) (*HostServer, error) {
	h := &HostServer{Name: name, Node: node, Addr4: node.A4, Addr6: node.A6, Port: port}
	s, err := newServer(ctx, node, name, optionsOf(options).sctp,
		netip.AddrPortFrom(h.Addr4, port), netip.AddrPortFrom(h.Addr6, port))
	if err != nil {
		return nil, fmt.Errorf("add server %s to %s: %w", name, node.Name, err)
	}
	t.mu.Lock()
	t.servers = append(t.servers, s)
	t.mu.Unlock()
	return h, nil
}
