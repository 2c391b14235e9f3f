//go:build kernel && linux

package ipvs_test

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvstest"
)

func TestKernelKeepsTheContractOfCounters(t *testing.T) {
	ipvstest.StatsContract(t, func(t *testing.T) (rig ipvstest.StatsRig) {
		inFreshNamespace(t, func() {
			rig = ipvstest.StatsRig{Handle: open(t, ipvs.Options{}), Reader: openStats(t), Traffic: newTraffic(t)}
		})
		return rig
	})
}

func openStats(t testing.TB) ipvs.StatsReader {
	t.Helper()
	r, err := ipvs.OpenStats(ipvs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

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

func TestCountersOfVirtualServersWithAFirewallMarkAreLeftOut(t *testing.T) {
	var h ipvs.Handle
	var r ipvs.StatsReader
	var m *moby.Handle
	inFreshNamespace(t, func() { h, r, m = open(t, ipvs.Options{}), openStats(t), openMoby(t) })
	mark := &moby.Service{FWMark: 7, AddressFamily: syscall.AF_INET, SchedName: "rr", Netmask: 0xffffffff}
	if err := m.NewService(mark); err != nil {
		t.Fatal(err)
	}
	want := services(1, 1, "10.1.0.10")
	program(t, h, want)
	awaitVirtuals(t, r, want)
	uses, err := r.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if key := want.Keys()[0]; len(uses) != 1 || len(uses[key]) != 1 {
		t.Errorf("uses %v, want one of %s", uses, key)
	}
}

// awaitVirtuals waits until r tells of exactly the virtual servers of a table: what other tests left behind in their
// namespaces may still go away, and dumps miss entries while it does.
func awaitVirtuals(t *testing.T, r ipvs.StatsReader, want ipvs.Table) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		virtuals, err := r.Virtuals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys := slices.SortedFunc(maps.Keys(virtuals), frontend.Key.Compare)
		if slices.Equal(keys, want.Keys()) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("virtual servers %v, want %v", keys, want.Keys())
		}
	}
}

func TestAReaderThatWasGivenUpReadsAgainInItsOwnNamespace(t *testing.T) {
	var h ipvs.Handle
	var r ipvs.StatsReader
	inFreshNamespace(t, func() { h, r = open(t, ipvs.Options{}), openStats(t) })
	want := services(3, 1, "10.1.0.10")
	program(t, h, want)
	for range 2 {
		awaitVirtuals(t, r, want)
		ipvs.GiveUpReading(r)
	}
}

// The kernel keeps the virtual servers of all network namespaces in one table, and a dump goes on by position in it: who
// writes in another namespace makes entries of this one be missing.
func TestReadsWhileAnotherNamespaceWritesHaveNothingWrongInThem(t *testing.T) {
	var h, other ipvs.Handle
	var r ipvs.StatsReader
	inFreshNamespace(t, func() { h, r = open(t, ipvs.Options{}), openStats(t) })
	inFreshNamespace(t, func() { other = open(t, ipvs.Options{}) })
	still, moving := services(1000, 2, "10.1.0.10"), services(300, 2, "10.2.0.10")
	program(t, h, still)
	awaitVirtuals(t, r, still)
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			other.Do(ctx, ipvs.Diff(nil, moving))
			other.Do(ctx, ipvs.Diff(moving, nil))
		}
	})
	missing := 0
	for range 20 {
		virtuals, err := r.Virtuals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key := range virtuals {
			if _, ours := still[key]; !ours {
				t.Errorf("%s is of another namespace", key)
			}
		}
		uses, err := r.Use(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key, use := range uses {
			for real := range use {
				if _, ours := still[key].Reals[real]; !ours {
					t.Errorf("%s %s is of another namespace", key, real)
				}
			}
		}
		missing += 2*len(still) - len(virtuals) - len(uses)
	}
	stop()
	writer.Wait()
	t.Logf("%d of 40,000 untouched virtual servers were missing in 20 reads of both kinds", missing)
	awaitVirtuals(t, r, still)
}

// Counters are sums over the processors that the estimator makes every two seconds; connections are not.
func TestCountersStandStillWhileEstimationIsOff(t *testing.T) {
	var h ipvs.Handle
	var r ipvs.StatsReader
	var f traffic
	inFreshNamespace(t, func() { h, r, f = open(t, ipvs.Options{}), openStats(t), newTraffic(t) })
	f.estimate(t, "0")
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30080)
	real := netip.MustParseAddrPort("10.244.0.1:8080")
	program(t, h, ipvs.Table{key: {
		VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{real: {Weight: 1}},
	}})
	f.Pass(t, key, real, 3)
	read := func() ipvs.RealStats {
		reals, err := r.Reals(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return reals[real]
	}
	// Longer than the kernel takes to bring counters up to date, so that they would show if they ever did.
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s := read(); s.Inactive != 3 || s.Counters != (ipvs.Counters{}) {
			t.Fatalf("%+v, want three connections that are not counted", s)
		}
	}
	f.estimate(t, "1")
	for end := time.Now().Add(15 * time.Second); read().Counters.Connections != 3; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v after estimation was turned on again, want all three connections", read())
		}
	}
}

func (f traffic) estimate(t *testing.T, value string) {
	t.Helper()
	err := f.inside(func() error { return os.WriteFile("/proc/sys/net/ipv4/vs/run_estimation", []byte(value), 0o644) })
	if err != nil {
		t.Fatal(err)
	}
}
