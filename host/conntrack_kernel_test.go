//go:build kernel

package host

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// addFlow makes an entry in the namespace of the thread.
func addFlow(protocol uint8, client, to, answers string) error {
	c, d, a := netip.MustParseAddrPort(client), netip.MustParseAddrPort(to), netip.MustParseAddrPort(answers)
	family := netlink.InetFamily(unix.AF_INET)
	if c.Addr().Is6() {
		family = unix.AF_INET6
	}
	f := &netlink.ConntrackFlow{FamilyType: uint8(family), TimeOut: 600}
	f.Forward = netlink.IPTuple{Protocol: protocol, SrcIP: c.Addr().AsSlice(), SrcPort: c.Port(), DstIP: d.Addr().AsSlice(), DstPort: d.Port()}
	f.Reverse = netlink.IPTuple{Protocol: protocol, SrcIP: a.Addr().AsSlice(), SrcPort: a.Port(), DstIP: c.Addr().AsSlice(), DstPort: c.Port()}
	if protocol == unix.IPPROTO_TCP {
		f.ProtoInfo = &netlink.ProtoInfoTCP{State: 3} // established
	}
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, family, f); err != nil {
		return fmt.Errorf("make the entry of %s: %w", client, err)
	}
	return nil
}

// clients are those of all entries in the namespace of the thread, sorted.
func clients() ([]string, error) {
	var all []string
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return nil, err
		}
		for _, f := range flows {
			addr, _ := netip.AddrFromSlice(f.Forward.SrcIP)
			all = append(all, netip.AddrPortFrom(addr.Unmap(), f.Forward.SrcPort).String())
		}
	}
	slices.Sort(all)
	return all, nil
}

func TestKernelForgetsStaleFlowsAndNoOthers(t *testing.T) {
	one := map[frontend.Key][]netip.AddrPort{
		udp("10.1.0.10:30053"):  addrPorts("10.244.1.2:53"),
		udp("[fd01::10]:30053"): addrPorts("[fd44:1::2]:53"),
	}
	several := map[frontend.Key][]netip.AddrPort{udp("10.1.0.10:30099"): nil, udp("[fd01::10]:30099"): nil}
	for key, addrs := range one {
		several[key] = addrs
	}
	for name, real := range map[string]map[frontend.Key][]netip.AddrPort{"one port": one, "several ports": several} {
		inNamespace(t, func() error {
			for _, f := range []struct {
				protocol            uint8
				client, to, answers string
			}{
				{unix.IPPROTO_UDP, "10.1.0.2:1", "10.1.0.10:30053", "10.244.1.2:53"},
				{unix.IPPROTO_UDP, "10.1.0.2:2", "10.1.0.10:30053", "10.244.2.2:53"},   // gone
				{unix.IPPROTO_UDP, "10.1.0.2:3", "10.1.0.10:30053", "10.1.0.10:30053"}, // never translated
				{unix.IPPROTO_UDP, "10.1.0.2:4", "10.1.0.99:30053", "10.1.0.99:30053"},
				{unix.IPPROTO_UDP, "10.1.0.2:5", "10.1.0.10:53", "10.1.0.10:53"},
				{unix.IPPROTO_TCP, "10.1.0.2:6", "10.1.0.10:30053", "10.244.2.2:53"},
				{unix.IPPROTO_UDP, "[fd01::2]:1", "[fd01::10]:30053", "[fd44:1::2]:53"},
				{unix.IPPROTO_UDP, "[fd01::2]:2", "[fd01::10]:30053", "[fd44:2::2]:53"}, // gone
				{unix.IPPROTO_UDP, "[fd01::2]:4", "[fd01::99]:30053", "[fd01::99]:30053"},
			} {
				if err := addFlow(f.protocol, f.client, f.to, f.answers); err != nil {
					return err
				}
			}
			if got, err := DeleteStaleFlows(real); got != 3 || err != nil {
				t.Errorf("%s: deleted %d, %v; want 3", name, got, err)
			}
			left, err := clients()
			want := []string{"10.1.0.2:1", "10.1.0.2:4", "10.1.0.2:5", "10.1.0.2:6", "[fd01::2]:1", "[fd01::2]:4"}
			if diff := cmp.Diff(want, left); diff != "" {
				t.Errorf("%s: what is left (-want +got):\n%s", name, diff)
			}
			return err
		})
	}
}

func TestKernelDeletesTheEntryThatWasListedOrNone(t *testing.T) {
	real := map[frontend.Key][]netip.AddrPort{udp("10.1.0.10:30053"): nil}
	inNamespace(t, func() error {
		if err := addFlow(unix.IPPROTO_UDP, "10.1.0.2:1", "10.1.0.10:30053", "10.244.1.2:53"); err != nil {
			return err
		}
		s, err := openConntrack()
		if err != nil {
			return err
		}
		defer s.nl.Close()
		f := dumpFilters(real)[0]
		found, err := s.list(f, newServers(real).stale)
		if err != nil || len(found) != 1 {
			return fmt.Errorf("listed %v, %w", found, err)
		}
		another := found[0]
		another.id = []byte{1, 2, 3, 4}
		if n, err := s.delete(f, []flow{another}); n != 0 || err != nil {
			t.Errorf("an entry of another id: %d deleted, %v", n, err)
		}
		if n, err := s.delete(f, slices.Concat(found, found)); n != 1 || err != nil {
			t.Errorf("the entry, and once it is gone: %d deleted, %v", n, err)
		}
		return nil
	})
}

// BenchmarkKernelStaleFlows looks for the flows of one frontend in a long table.
func BenchmarkKernelStaleFlows(b *testing.B) {
	const entries = 50_000
	for name, real := range map[string]map[frontend.Key][]netip.AddrPort{
		"one port":  {udp("10.1.0.10:30053"): nil},
		"two ports": {udp("10.1.0.10:30053"): nil, udp("10.1.0.10:30054"): nil},
	} {
		b.Run(name, func(b *testing.B) {
			inNamespace(b, func() error {
				for i := range entries {
					client := fmt.Sprintf("10.%d.%d.%d:%d", i>>16, i>>8&0xff, i&0xff, 1024+i)
					if err := addFlow(unix.IPPROTO_UDP, client, "10.1.0.10:53", "10.244.1.2:53"); err != nil {
						return err
					}
				}
				for b.Loop() {
					if _, err := DeleteStaleFlows(real); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
