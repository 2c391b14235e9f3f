package topo

import (
	"net/netip"
	"testing"
)

func TestAProcessServesAndAsksInItsOwnNamespaceWithoutPrivilege(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	s, err := Serve(t.Context(), "web", netip.AddrPortFrom(loopback, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for protocol, at := range map[string]string{
		TCP: s.server.streams[0].Addr().String(), HTTP: s.server.streams[0].Addr().String(), UDP: s.server.udp[0].LocalAddr().String(),
	} {
		a, err := Ask(t.Context(), Here("here"), protocol, netip.MustParseAddrPort(at))
		if err != nil || a != (Answer{"web", loopback}) {
			t.Errorf("%s: %+v, %v", protocol, a, err)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Ask(t.Context(), Here("here"), TCP, netip.MustParseAddrPort(s.server.streams[0].Addr().String())); err == nil {
		t.Error("a server that was shut down answers")
	}
}
