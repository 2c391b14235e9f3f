package topo

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestALoadThatIsStoppedCountsTheRequestUnderWay(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	load := &Load{From: Here("here"), Protocol: TCP, To: netip.MustParseAddrPort(l.Addr().String()), Patience: 100 * time.Millisecond}
	load.Start(t.Context())
	c, err := l.Accept() // and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if tally := load.Stop(); len(tally.Failures) != 1 || tally.Answers() != 0 {
		t.Errorf("%v", tally)
	}
}
