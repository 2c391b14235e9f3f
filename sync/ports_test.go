package sync

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// rows are the ports of a view as text: PORT/PROTOCOL KIND BAND OWNER ADDRESSES, then rivals and others.
func (v PortsView) rows() []string {
	var rows []string
	for _, u := range v.Ports {
		row := fmt.Sprintf("%d/%s %s, %s, %s %v", u.Port, u.Protocol, u.Kind, u.Band, u.Owner.Name, u.Addresses)
		for _, r := range u.Rivals {
			row += fmt.Sprintf("; %s wants it (%s)", r.Service.Name, r.Kind)
		}
		for _, o := range u.Others {
			row += fmt.Sprintf("; %s, served %t", o, u.Served)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestWhoHasWhichPort(t *testing.T) {
	dns := service("dns", 30053, "10.244.1.2:53")
	dns.Ports = append(dns.Ports, dns.Ports[0])
	dns.Ports[1].Protocol = frontend.UDP
	here := service("here", 30082)
	here.Families = IPv4
	for _, c := range []struct {
		name     string
		policy   PortConflict
		services []Service
		programs []Listener
		want     []string
	}{
		{"none", PortConflictWarn, nil, []Listener{listens("", 22, "sshd")}, nil},
		{"one row for all addresses of a protocol", PortConflictWarn, []Service{dns, here}, nil, []string{
			"30053/tcp node port, static, dns [10.1.0.10 10.2.0.10 fd01::10]",
			"30053/udp node port, static, dns [10.1.0.10 10.2.0.10 fd01::10]",
			"30082/tcp node port, static, here [10.1.0.10 10.2.0.10]",
		}},
		{
			"rivals in the order in which they would take over, where they want it", PortConflictWarn,
			[]Service{younger(here), service("both", 30082), onlyExtra("asks", 30082), younger(younger(balanced("checked", 32000, 30082)))},
			nil,
			[]string{
				"30082/tcp node port, static, both [10.1.0.10 10.2.0.10]; here wants it (node port); checked wants it (health check); asks wants it (extra port)",
				"30082/tcp node port, static, both [fd01::10]; checked wants it (health check); asks wants it (extra port)",
				"32000/tcp node port, dynamic, checked [10.1.0.10 10.2.0.10 fd01::10]",
			},
		},
		{"health checks and extra ports beside node ports", PortConflictWarn, []Service{balanced("lb", 30086, 40000), withExtra(here, 80)}, nil, []string{
			"80/tcp extra port, outside, here [10.1.0.10 10.2.0.10]",
			"30082/tcp node port, static, here [10.1.0.10 10.2.0.10]",
			"30086/tcp node port, dynamic, lb [10.1.0.10 10.2.0.10 fd01::10]",
			"40000/tcp health check, outside, lb [10.1.0.10 10.2.0.10 fd01::10]",
		}},
		{"programs where they listen", PortConflictWarn, []Service{withExtra(here, 80)}, []Listener{listens(at1, 30082, "a"), listens("", 80, "b")}, []string{
			"80/tcp extra port, outside, here [10.1.0.10 10.2.0.10]; b listens there, served false",
			"30082/tcp node port, static, here [10.1.0.10]; a listens there, served true",
			"30082/tcp node port, static, here [10.2.0.10]",
		}},
		{"programs that have their port to themselves", PortConflictSkip, []Service{here}, []Listener{listens("", 30082, "a")}, []string{
			"30082/tcp node port, static, here [10.1.0.10 10.2.0.10]; a listens there, served false",
		}},
		{"the agent's own socket of a health check is no program", PortConflictWarn, []Service{balanced("lb", 30086, 30087)}, []Listener{listens("", 30087, "")}, []string{
			"30086/tcp node port, dynamic, lb [10.1.0.10 10.2.0.10 fd01::10]",
			"30087/tcp health check, dynamic, lb [10.1.0.10 10.2.0.10 fd01::10]",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := node(c.policy, at1, "10.2.0.10", "fd01::10")
			s.SetListeners(c.programs)
			s.take(c.services...)
			same(t, "rows", c.want, s.ViewPorts().rows())
		})
	}
}

func TestBandsAndWhatIsFreeInThem(t *testing.T) {
	elsewhere := service("elsewhere", 30001)
	elsewhere.Families = IPv6
	for _, c := range []struct {
		name      string
		ports     allocator.Range
		services  []Service
		bands     string
		suggested []uint16
	}{
		{"nothing is taken", nodePorts, nil, "static 30000-30085 0, dynamic 30086-32767 0", []uint16{30000, 30001, 30002}},
		{"what no address here serves is taken all the same", nodePorts, []Service{service("a", 30000), elsewhere}, "static 30000-30085 2, dynamic 30086-32767 0", []uint16{30002, 30003, 30004}},
		{"a port counts once", nodePorts, []Service{service("a", 30000), service("b", 30000)}, "static 30000-30085 1, dynamic 30086-32767 0", []uint16{30001, 30002, 30003}},
		{"health checks and extra ports are taken", nodePorts, []Service{balanced("a", 30090, 30000), onlyExtra("b", 30002)}, "static 30000-30085 2, dynamic 30086-32767 1", []uint16{30001, 30003, 30004}},
		{"outside of the range", nodePorts, []Service{service("a", 443)}, "static 30000-30085 0, dynamic 30086-32767 0", []uint16{30000, 30001, 30002}},
		{"a range without a static band", allocator.Range{First: 30000, Last: 30015}, nil, "dynamic 30000-30015 0", nil},
		{"fewer free than asked for", allocator.Range{First: 30000, Last: 30016}, many(30000, 14), "static 30000-30015 14, dynamic 30016 0", []uint16{30014, 30015}},
		{"no range is known", allocator.Range{First: 1}, nil, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := node(PortConflictWarn, at1)
			s.NodePortRange = c.ports
			s.take(c.services...)
			v := s.ViewPorts()
			var bands []string
			for _, b := range v.Bands {
				bands = append(bands, fmt.Sprintf("%s %s %d", b.Band, b.Range, b.Taken))
			}
			if got := strings.Join(bands, ", "); got != c.bands {
				t.Errorf("bands are %q, want %q", got, c.bands)
			}
			if got := v.Suggest(3); !slices.Equal(got, c.suggested) {
				t.Errorf("suggested are %v, want %v", got, c.suggested)
			}
			if got := v.Suggest(0); len(got) != 0 {
				t.Errorf("of none, suggested are %v", got)
			}
		})
	}
}

// many are Services with n node ports from first on.
func many(first uint16, n int) []Service {
	var all []Service
	for i := range n {
		all = append(all, service(fmt.Sprintf("s%d", i), first+uint16(i)))
	}
	return all
}

func TestAViewIsNotTheStatesOwn(t *testing.T) {
	s := node(PortConflictWarn, at1)
	s.take(service("a", 30000), younger(service("b", 30000)))
	before := s.ViewPorts().rows()
	v := s.ViewPorts()
	v.Ports[0].Rivals[0].Service.Name, v.Ports[0].Addresses[0] = "x", v.Ports[0].Addresses[0].Next()
	if diff := cmp.Diff(before, s.ViewPorts().rows()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}
