package sync

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// primaryOnly serves the addresses of the Node object.
func primaryOnly(t *testing.T) func(*Config) {
	spec, err := nodeaddr.ParseSpec([]string{"primary"})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.NodePortAddresses = spec }
}

func (g *rig) node(internal ...string) {
	n := &Node{Name: "node1"}
	for _, text := range internal {
		n.InternalIPs = append(n.InternalIPs, netip.MustParseAddr(text))
	}
	g.source.deliver(func(u *Update) { u.Node = n })
	synctest.Wait()
}

const (
	onFirst  = "tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1"
	onSecond = "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1"
)

func TestPrimaryAddressFollowsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, primaryOnly(t))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.node("10.1.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.expect(onFirst)
		g.node() // says nothing about the host's addresses
		g.after(time.Hour)
		g.expect(onFirst)
		g.node("10.2.0.10")
		// The host still has the first address, so no flap is waited for.
		g.after(10 * time.Second)
		g.expect(onSecond)
	})
}

// A Node of two families may lose the address of one in its status for a moment, while the host has it all the time.
func TestPrimaryAddressOfAFamilyThatTheNodeLacksStands(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, primaryOnly(t))
		g.addresses.set("10.1.0.10", "10.2.0.10", "fd01::10", "fd02::10")
		g.node("10.1.0.10", "fd01::10")
		g.deliver(web("10.244.1.2:8080", "[fd44:1::2]:8080"))
		const onFirst6, onSecond6 = "tcp://[fd01::10]:30080 rr [fd44:1::2]:8080*1", "tcp://[fd02::10]:30080 rr [fd44:1::2]:8080*1"
		g.expect(onFirst, onFirst6)
		g.node("10.2.0.10")
		g.after(time.Hour)
		g.expect(onSecond, onFirst6)
		g.node("fd02::10")
		g.after(time.Hour)
		g.expect(onSecond, onSecond6)
	})
}

// It may be one of them that the Node, which cannot be found, would have chosen.
func TestWithoutAnyPrimaryAddressNothingIsDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, primaryOnly(t))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.node("10.1.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.stop()
		g = start(t, kernel, nft, primaryOnly(t))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.after(time.Hour)
		g.expect(onFirst)
		g.node("10.2.0.10")
		g.after(10 * time.Second)
		g.expect(onSecond)
	})
}

// An address that is set anew is tentative until duplicate address detection is over.
func TestAddressThatIsNotUsableYetKeepsItsGrace(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = 24 * time.Hour })
		g.addresses.set("10.1.0.10", "fd01::10")
		g.deliver(web("10.244.1.2:8080", "[fd44:1::2]:8080"))
		both := []string{onFirst, "tcp://[fd01::10]:30080 rr [fd44:1::2]:8080*1"}
		g.expect(both...)
		g.addresses.setState(nodeaddr.Tentative, 1)
		g.after(59 * time.Second)
		g.expect(both...)
		g.after(11 * time.Second)
		g.expect(onFirst)
	})
}

func TestEachAbsenceOfAnAddressHasItsOwnGrace(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		for range 3 {
			g.addresses.set()
			g.after(40 * time.Second)
			g.expect(onFirst)
			g.addresses.set("10.1.0.10")
			g.after(time.Second)
		}
	})
}

func TestPrimaryAddressesAreTheFirstOfEachFamily(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	for _, c := range []struct {
		name string
		node Node
		want []netip.Addr
	}{
		{"internal ones", Node{InternalIPs: addrs("10.1.0.10", "10.2.0.10", "fd01::10", "fd02::10")}, addrs("10.1.0.10", "fd01::10")},
		{"external ones of the family that has no internal one", Node{InternalIPs: addrs("10.1.0.10"), ExternalIPs: addrs("192.0.2.1", "fd09::1")}, addrs("10.1.0.10", "fd09::1")},
		{"external ones alone", Node{ExternalIPs: addrs("fd09::1", "192.0.2.1", "192.0.2.2")}, addrs("fd09::1", "192.0.2.1")},
		{"none", Node{}, nil},
	} {
		if got := c.node.Primary(); !slices.Equal(got, c.want) {
			t.Errorf("%s: have %v, want %v", c.name, got, c.want)
		}
	}
}
