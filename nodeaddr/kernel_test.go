//go:build kernel

package nodeaddr

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestKernelAddressesAreFollowed(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	n.add("eth0", "10.1.0.10/24")
	w := n.watch()
	waitFor(t, w, "an address from before", exactly("eth0 10.1.0.10/24"))

	n.add("eth0", "10.1.0.11/24")
	waitFor(t, w, "a second address", exactly("eth0 10.1.0.10/24", "eth0 10.1.0.11/24"))
	n.add("eth0", "fd01::10/64")
	waitFor(t, w, "an IPv6 address", exactly("eth0 10.1.0.10/24", "eth0 10.1.0.11/24", "eth0 fd01::10/64"))

	n.remove("eth0", "10.1.0.11/24")
	waitFor(t, w, "an address that is removed", exactly("eth0 10.1.0.10/24", "eth0 fd01::10/64"))
}

func TestKernelAnAddressIsToldWithinASecond(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	w := n.watch()
	eth0, a := n.link("eth0"), parseAddr(t, "10.1.0.10/24")
	var worst time.Duration
	for range 10 {
		<-time.After(2 * changeGap) // the quiet that a single change comes out of; longer would do as well
		for drained := false; !drained; {
			select {
			case <-w.Changed():
			default:
				drained = true
			}
		}
		start := time.Now()
		n.must(n.AddrAdd(eth0, a))
		select {
		case <-w.Changed():
		case <-time.After(10 * time.Second):
			t.Fatal("not told")
		}
		worst = max(worst, time.Since(start))
		waitFor(t, w, "the address", exactly("eth0 10.1.0.10/24"))
		n.must(n.AddrDel(eth0, a))
		waitFor(t, w, "its removal", exactly())
	}
	t.Logf("from before the request to the notice: %v at worst", worst)
	if worst > time.Second {
		t.Errorf("told after %v", worst)
	}
}

func TestKernelARenamedLinkRenamesItsAddresses(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	n.add("eth0", "10.1.0.10/24")
	w := n.watch()
	// Kernels before 6.3 refuse to rename a link that is up, and one that goes down keeps its IPv4 address.
	l := n.link("eth0")
	n.must(n.LinkSetDown(l))
	n.must(n.LinkSetName(l, "lan0"))
	waitFor(t, w, "the new name", exactly("lan0 10.1.0.10/24"))
}

func TestKernelALinkThatGoesTakesItsAddresses(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	n.quietLink("eth1")
	n.add("eth0", "10.1.0.10/24")
	n.add("eth1", "10.2.0.10/24")
	w := n.watch()
	n.must(n.LinkDel(n.link("eth0")))
	waitFor(t, w, "a link that goes", exactly("eth1 10.2.0.10/24"))
}

func TestKernelALinkThatLeavesItsBridgeKeepsItsAddresses(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	n.add("eth0", "10.1.0.10/24")
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	n.must(n.LinkAdd(bridge))
	w := n.watch()
	n.must(n.LinkSetMaster(n.link("eth0"), bridge))
	n.must(n.LinkSetNoMaster(n.link("eth0")))
	n.add("eth0", "10.1.0.11/24") // told after everything before it
	waitFor(t, w, "both addresses", exactly("eth0 10.1.0.10/24", "eth0 10.1.0.11/24"))
}

// What the kernel answers for on a link that is down is what is reported: IPv4 stays, IPv6 goes.
func TestKernelALinkThatIsDownKeepsItsIPv4Addresses(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	n.add("eth0", "10.1.0.10/24")
	n.add("eth0", "fd01::10/64")
	w := n.watch()
	n.must(n.LinkSetDown(n.link("eth0")))
	waitFor(t, w, "a link that is down", exactly("eth0 10.1.0.10/24"))
	routes, err := n.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	n.must(err)
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == "10.1.0.10/32" {
			return
		}
	}
	t.Errorf("the kernel does not answer for the address any more: local routes are %v", routes)
}

func TestKernelATentativeAddressBecomesUsable(t *testing.T) {
	n := newNamespace(t)
	n.detectingLink("eth0")
	w := n.watch()
	n.add("eth0", "fd01::10/64")
	waitFor(t, w, "detection", exactly("eth0 fd01::10/64 tentative"))
	d := waitFor(t, w, "the end of detection", exactly("eth0 fd01::10/64"))
	t.Logf("detection took %v", d)
}

func TestKernelADuplicateAddressIsToldAsSuch(t *testing.T) {
	n := newNamespace(t)
	peer := n.detectingLink("eth0")
	n.must(n.AddrAdd(n.link(peer), withFlags(parseAddr(t, "fd01::10/64"), unix.IFA_F_NODAD)))
	w := n.watch()
	n.add("eth0", "fd01::10/64")
	waitFor(t, w, "the failure of detection",
		exactly("eth0 fd01::10/64 tentative dadfailed", peer+" fd01::10/64"))
}

func TestKernelATemporaryAddressIsToldAsSuch(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	n.sysctl("ipv6/conf/eth0/use_tempaddr", "2")
	w := n.watch()
	n.must(n.AddrAdd(n.link("eth0"), withFlags(parseAddr(t, "fd01::10/64"), unix.IFA_F_MANAGETEMPADDR)))
	waitFor(t, w, "the temporary address", func(addrs []Address) bool {
		for _, a := range addrs {
			if a.State == Temporary && strings.Contains(a.Unusable(), "temporary") {
				return true
			}
		}
		return false
	})
}

func TestKernelADeprecatedAddressServes(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	w := n.watch()
	a := parseAddr(t, "fd01::10/64")
	a.ValidLft, a.PreferedLft = 3600, 0
	n.must(n.AddrAdd(n.link("eth0"), a))
	waitFor(t, w, "the deprecated address", func(addrs []Address) bool {
		for _, a := range addrs {
			if a.State == Deprecated && a.Unusable() == "" {
				return true
			}
		}
		return false
	})
}

func withFlags(a *netlink.Addr, flags int) *netlink.Addr {
	a.Flags = flags
	return a
}

func TestKernelABurstOfAddressesIsToldInAFewNotices(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	w := n.watch()
	eth0 := n.link("eth0")
	const count = 1000
	added := make(chan error, 1)
	start := time.Now()
	go func() {
		for i := range count {
			if err := n.AddrAdd(eth0, numbered(i)); err != nil {
				added <- err
				return
			}
		}
		added <- nil
	}()
	notices := 0
	for have := 0; have < count; notices++ {
		select {
		case <-w.Changed():
		case <-time.After(30 * time.Second):
			t.Fatalf("%d addresses told, then nothing more", have)
		}
		got, _ := w.Addresses()
		have = 0
		for _, a := range got {
			if a.Addr.Is4() && !a.Addr.IsLoopback() {
				have++
			}
		}
	}
	told := time.Since(start)
	n.must(<-added)
	t.Logf("%d addresses told after %v with %d notices", count, told, notices)
	if most := int(told/changeGap) + 2; notices > most {
		t.Errorf("%d notices in %v, at most %d wanted", notices, told, most)
	}
}

// numbered is one of some thousand addresses, none of which depends on another.
func numbered(i int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 1, byte(i/250), byte(i%250+1)), Mask: net.CIDRMask(32, 32)}}
}

func TestKernelAnOverrunOfTheSocketBufferConverges(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	overruns := make(chan string, 1000)
	log := funcr.New(func(_, args string) {
		if strings.Contains(args, unix.ENOBUFS.Error()) {
			overruns <- args
		}
	}, funcr.Options{})
	w := n.watchLogging(log, WithReceiveBuffer(1)) // the kernel makes that its minimum, some two thousand bytes
	eth0 := n.link("eth0")
	const count = 2000
	start := time.Now()
	w.mu.Lock() // holds the reader up, so that the overrun does not depend on luck
	for i := range count {
		n.must(n.AddrAdd(eth0, numbered(i)))
	}
	for i := range count - 1 {
		n.must(n.AddrDel(eth0, numbered(i)))
	}
	w.mu.Unlock()
	changed := time.Since(start)
	d := waitFor(t, w, "what is left after the overrun", exactly("eth0 10.1.7.250/32"))
	t.Logf("%d changes in %v, converged %v later", 2*count-1, changed, d)
	select {
	case line := <-overruns:
		t.Log(line)
	default:
		t.Error("the buffer did not overrun")
	}
	n.add("eth0", "10.2.0.1/16")
	waitFor(t, w, "an address after the overrun", exactly("eth0 10.1.7.250/32", "eth0 10.2.0.1/16"))
}

// A dump that changes came in between of may lack entries; none of those may be taken for the truth.
func TestKernelAListingAmidstChangesIsComplete(t *testing.T) {
	n := newNamespace(t)
	n.quietLink("eth0")
	eth0 := n.link("eth0")
	const stable = 1500
	for i := range stable {
		n.must(n.AddrAdd(eth0, numbered(i)))
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i = (i + 7) % 100 {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			a := numbered(stable + i)
			if err := errors.Join(n.AddrAdd(eth0, a), n.AddrDel(eth0, a)); err != nil {
				stopped <- err
				return
			}
		}
	}()
	listings := 0
	for start := time.Now(); time.Since(start) < time.Second; {
		got, err := list(n.ns)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // told as such, which the Watcher tries again
		}
		n.must(err)
		listings++
		have := map[netip.Addr]bool{}
		for _, a := range got.addresses() {
			have[a.Addr] = true
		}
		for i := range stable {
			a, _ := netip.AddrFromSlice(numbered(i).IP.To4())
			if !have[a] {
				t.Fatalf("listing %d lacks %s", listings, a)
			}
		}
	}
	close(stop)
	n.must(<-stopped)
	t.Logf("%d complete listings of %d addresses in a second", listings, stable)
}
