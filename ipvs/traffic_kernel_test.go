//go:build kernel && linux

package ipvs_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// traffic has clients and servers in one network namespace, on addresses of its loopback.
type traffic struct{ ns netns.NsHandle }

// newTraffic gives the namespace of the thread its addresses and starts a server on each that stands for a real one: it
// answers with what it was asked.
func newTraffic(t *testing.T) traffic {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"10.1.0.10", "10.244.0.1", "10.244.0.2", "10.244.0.3", "fd01::10", "fd02::1", "fd02::2", "fd02::3"} {
		addr := netip.MustParseAddr(a)
		ipNet := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: ipNet, Flags: syscall.IFA_F_NODAD}); err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if strings.HasPrefix(a, "10.244.") || strings.HasPrefix(a, "fd02:") {
			serveStreams(t, netip.AddrPortFrom(addr, 8080))
			serveDatagrams(t, netip.AddrPortFrom(addr, 8080))
		}
	}
	ns, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return traffic{ns}
}

func serveStreams(t *testing.T, at netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn) // until the client closes
				_ = conn.Close()
			}()
		}
	}()
}

func serveDatagrams(t *testing.T, at netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenPacket("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(b[:n], from)
		}
	}()
}

func (f traffic) Pass(t *testing.T, key frontend.Key, _ netip.AddrPort, n int) {
	t.Helper()
	for range n {
		conn := f.ask(t, key)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (f traffic) Hold(t *testing.T, key frontend.Key, _ netip.AddrPort) {
	t.Helper()
	conn := f.ask(t, key)
	t.Cleanup(func() { _ = conn.Close() })
}

// ask returns the connection on which a question was answered.
func (f traffic) ask(t *testing.T, key frontend.Key) net.Conn {
	t.Helper()
	conn := f.dial(t, key)
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" || err != nil {
		t.Fatalf("%s answered %q, %v", key, line, err)
	}
	return conn
}

func (f traffic) dial(t *testing.T, key frontend.Key) (conn net.Conn) {
	t.Helper()
	err := f.inside(func() (err error) {
		conn, err = net.DialTimeout(strings.ToLower(key.Protocol.String()), key.AddrPort().String(), 10*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// inside runs do in the namespace of the traffic, on a thread that ends then.
func (f traffic) inside(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(f.ns); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// estimate turns the kernel's estimation on or off, which brings counters up to date.
func (f traffic) estimate(t *testing.T, value string) {
	t.Helper()
	err := f.inside(func() error { return os.WriteFile("/proc/sys/net/ipv4/vs/run_estimation", []byte(value), 0o644) })
	if err != nil {
		t.Fatal(err)
	}
}
