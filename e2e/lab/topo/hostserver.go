package topo

import (
	"context"
	"fmt"
	"net/netip"
)

// HostServer serves on a node's own addresses, as a pod with hostNetwork does.
type HostServer struct {
	Name         string
	Node         *Host
	Addr4, Addr6 netip.Addr // the node's on network A
	Port         uint16

	t      *Topology
	server *server
}

// AddHostServer starts a server on the addresses of a node on network A. It answers as a pod does, by its own name.
//
// It does not listen on the unspecified address: such a server answers a datagram from the address of the route to the
// client, not from the one it was asked at, and neither IPVS nor conntrack knows that answer for one.
func (t *Topology) AddHostServer(ctx context.Context, node *Host, name string, port uint16, options ...PodOption) (*HostServer, error) {
	h := &HostServer{Name: name, Node: node, Addr4: node.A4, Addr6: node.A6, Port: port, t: t}
	s, err := newServer(ctx, node, name, optionsOf(options).sctp,
		netip.AddrPortFrom(h.Addr4, port), netip.AddrPortFrom(h.Addr6, port))
	if err != nil {
		return nil, fmt.Errorf("add server %s to %s: %w", name, node.Name, err)
	}
	h.server = s
	t.mu.Lock()
	t.servers[s] = true
	t.mu.Unlock()
	return h, nil
}

// Shutdown stops accepting connections and waits until those there are have ended, or for ctx.
func (h *HostServer) Shutdown(ctx context.Context) error {
	if err := h.server.shutdown(ctx); err != nil {
		return fmt.Errorf("shut server %s down: %w", h.Name, err)
	}
	return nil
}

// Close stops the server at once. One that was stopped is not an error.
func (h *HostServer) Close() error {
	h.t.mu.Lock()
	there := h.t.servers[h.server]
	delete(h.t.servers, h.server)
	h.t.mu.Unlock()
	if there {
		h.server.close()
	}
	return nil
}
