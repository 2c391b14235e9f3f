package topo

import (
	"net/netip"
	"testing"
)

func TestASourcePortComesBackAfterAllOthersAndIsNoNodePort(t *testing.T) {
	var p sourcePorts
	seen := map[uint16]bool{}
	for range sources {
		port := p.next()
		if seen[port] || port < firstSource || port > lastSource || port >= 30_000 && port <= 32_767 {
			t.Fatalf("port %d after %d others (seen: %v)", port, len(seen), seen[port])
		}
		seen[port] = true
	}
	if len(seen) < 40_000 {
		t.Errorf("%d ports", len(seen))
	}
	if port := p.next(); !seen[port] {
		t.Errorf("port %d comes after all", port)
	}
}

func TestWhatIsLeftOpenOfASourceIsFilledIn(t *testing.T) {
	to4, to6 := netip.MustParseAddrPort("10.1.0.10:80"), netip.MustParseAddrPort("[fd01::10]:80")
	for _, c := range []struct {
		as   string
		to   netip.AddrPort
		addr string
		port uint16 // 0 is any
	}{
		{"", to4, "0.0.0.0", 0},
		{"", to6, "::", 0},
		{"10.1.0.2:0", to4, "10.1.0.2", 0},
		{"[fd01::2]:20000", to6, "fd01::2", 20000},
	} {
		var as netip.AddrPort
		if c.as != "" {
			as = netip.MustParseAddrPort(c.as)
		}
		h := &Host{}
		a, b := h.source(as, c.to), h.source(as, c.to)
		if a.Addr().String() != c.addr || a.Port() == 0 || (c.port != 0) != (a == b) || c.port != 0 && a.Port() != c.port {
			t.Errorf("%q: %v and %v", c.as, a, b)
		}
	}
}
