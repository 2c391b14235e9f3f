package main

import (
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
)

func TestNodePortsThatAreReservedAreGivenToNobody(t *testing.T) {
	nodePorts := frontend.PortRange{First: 30000, Last: 32767}
	for _, c := range []struct {
		name      string
		ephemeral frontend.PortRange
		reserved  []frontend.PortRange
		want      string
	}{
		{"the kernel's default", frontend.PortRange{First: 32768, Last: 60999}, nil, ""},
		{"all of them", frontend.PortRange{First: 1024, Last: 65535}, nil, "30000-32767"},
		{"some", frontend.PortRange{First: 32000, Last: 60999}, nil, "32000-32767"},
		{"all are reserved", frontend.PortRange{First: 32000, Last: 60999}, []frontend.PortRange{nodePorts}, ""},
		{"those that count are reserved", frontend.PortRange{First: 32000, Last: 60999}, []frontend.PortRange{{First: 80, Last: 80}, {First: 32000, Last: 40000}}, ""},
		{"some are reserved", frontend.PortRange{First: 32000, Last: 60999}, []frontend.PortRange{{First: 30000, Last: 32010}, {First: 32020, Last: 32020}}, "32011-32019,32021-32767"},
	} {
		if got := exposedPorts(nodePorts, c.ephemeral, c.reserved).String(); got != c.want {
			t.Errorf("%s: %q may be taken, want %q", c.name, got, c.want)
		}
	}
}

// A socket that is bound to a device takes requests through that device alone: a resolver of a bridge, for example.
func TestListenersOfADeviceTakeNoPortFromTheNode(t *testing.T) {
	at := func(port uint16, device uint32) host.Listener {
		return host.Listener{Protocol: frontend.TCP, Addr: netip.IPv4Unspecified(), Port: port, Device: device, Inode: uint32(port)}
	}
	list := func() ([]host.Listener, error) { return []host.Listener{at(443, 0), at(8443, 3), at(80, 0)}, nil }
	claimed := func(_ frontend.Protocol, port uint16) bool { return port != 80 }
	got, err := listeners(list)(claimed)
	if err != nil || len(got) != 1 || got[0].Listener != at(443, 0) {
		t.Errorf("found %+v, %v", got, err)
	}
}
