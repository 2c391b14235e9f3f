package topo

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netns"
)

// Here is the network namespace of this process, as a place to ask from. It takes no privilege, and has no addresses,
// devices or sysctls to change.
func Here(name string) *Host {
	return &Host{Name: name, ns: netns.None(), here: true}
}

// Server serves what a pod of the topology serves, in the network namespace of this process.
type Server struct{ server *server }

// Serve starts to serve at each of the addresses. Each answer is the name and the client's address.
//
// The unspecified address is for hosts with one address of each family only: see [Topology.AddHostServer].
func Serve(ctx context.Context, name string, at ...netip.AddrPort) (*Server, error) {
	s, err := newServer(ctx, Here(name), name, false, at...)
	if err != nil {
		return nil, fmt.Errorf("serve as %s: %w", name, err)
	}
	return &Server{s}, nil
}

// Shutdown stops accepting connections and waits until those there are have ended, or for ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.server.shutdown(ctx); err != nil {
		return fmt.Errorf("shut server %s down: %w", s.server.name, err)
	}
	return nil
}

// Close ends everything at once.
func (s *Server) Close() { s.server.close() }
