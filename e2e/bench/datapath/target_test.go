package datapath

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// loopbackTarget asks a listener of this process on the loopback address of a family.
func loopbackTarget(t *testing.T, loopback string) *target {
	t.Helper()
	addr := netip.MustParseAddr(loopback)
	listener, err := listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(listener) })
	name, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	var port int
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		port = name.Port
	case *unix.SockaddrInet6:
		port = name.Port
	}
	return newTarget("loopback", topo.Here("here"), netip.AddrPortFrom(addr, uint16(port)), listener)
}

func TestOneThreadIsClientAndServer(t *testing.T) {
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		target := loopbackTarget(t, loopback)
		if err := target.dial(); err != nil {
			t.Fatal(err)
		}
		perSecond, err := target.requests(20 * time.Millisecond)
		latencies := target.takeLatencies()
		if err != nil || perSecond <= 0 || len(latencies) == 0 {
			t.Errorf("%s: %v requests a second, %d latencies, %v", loopback, perSecond, len(latencies), err)
		}
		if again := target.takeLatencies(); len(again) != 0 {
			t.Errorf("%s: %d latencies are remembered", loopback, len(again))
		}
		target.close()
		if perSecond, err := target.connects(20 * time.Millisecond); err != nil || perSecond <= 0 {
			t.Errorf("%s: %v connections a second, %v", loopback, perSecond, err)
		}
		if err := target.once(); err != nil {
			t.Error(err)
		}
	}
}

func TestAPortThatNobodyServesIsRefused(t *testing.T) {
	target := loopbackTarget(t, "127.0.0.1")
	other := loopbackTarget(t, "127.0.0.1")
	target.to = newAddress(netip.AddrPortFrom(target.at.Addr(), 1)) // a port that takes a privilege
	target.listener = other.listener
	if err := target.once(); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

func TestARequestOfSomebodyElseIsNoticed(t *testing.T) {
	target := loopbackTarget(t, "127.0.0.1")
	stray, err := target.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = target.reset(stray) }()
	if err := send(stray.client, make([]byte, requestSize)); err != nil {
		t.Fatal(err)
	}
	if err := target.exchange(conn{stray.client, stray.server}); err == nil {
		t.Error("a request was taken for another one")
	}
}

func TestThinnedValuesAreSpreadOverTheTime(t *testing.T) {
	all := []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for n, want := range map[int][]float64{0: {0}, 1: {0}, 2: {0, 5}, 5: {0, 2, 4, 6, 8}, 10: all, 20: all} {
		if got := thin(all, n); !slices.Equal(got, want) {
			t.Errorf("%d values: %v, want %v", n, got, want)
		}
	}
}

func TestTheMedianIsInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v", c.values, got)
		}
	}
}
