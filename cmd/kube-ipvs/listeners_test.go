package main

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
)

func TestTheRangeIsReservedUnlessItIsMostOfWhatProgramsAreGiven(t *testing.T) {
	const whole = "30000-32767"
	for _, c := range []struct {
		name     string
		given    frontend.PortRange
		err      error
		reserved string
	}{
		{"the kernel's default", frontend.PortRange{First: 32768, Last: 60999}, nil, whole},
		{"a wide one", frontend.PortRange{First: 1024, Last: 65535}, nil, whole},
		{"one that begins within", frontend.PortRange{First: 32000, Last: 60999}, nil, whole},
		{"half of it", frontend.PortRange{First: 32768 - 2768, Last: 32767 + 2768}, nil, whole},
		{"more than half of it", frontend.PortRange{First: 32768 - 2768, Last: 32767 + 2767}, nil, ""},
		{"all of it", frontend.PortRange{First: 31000, Last: 32000}, nil, ""},
		{"nobody knows", frontend.PortRange{}, errors.New("no such file"), whole},
	} {
		t.Run(c.name, func(t *testing.T) {
			given := func() (frontend.PortRange, error) { return c.given, c.err }
			nodePorts := allocator.Range{First: 30000, Last: 32767}
			if got := rangeToReserve(nodePorts, given).String(); got != c.reserved {
				t.Errorf("reserved is %q, want %q", got, c.reserved)
			}
		})
	}
}

func TestProgramsAreNamedWhereTheyAreKnown(t *testing.T) {
	for _, c := range []struct {
		process host.Process
		want    string
	}{
		{host.Process{}, ""},
		{host.Process{PID: 7, Name: "nginx", Args: []string{"-g"}}, "nginx (process 7)"},
		{host.Process{PID: 7}, "process 7"},
		{host.Process{PID: 7, Name: "\x1b[31mred\n\xff\u202ex"}, "[31mredx (process 7)"},
		{host.Process{PID: 7, Name: "\n\t"}, "process 7"},
		{host.Process{PID: 7, Name: strings.Repeat("é", 41)}, strings.Repeat("é", 40) + " (process 7)"},
	} {
		if got := processText(c.process); got != c.want {
			t.Errorf("%+v is %q, want %q", c.process, got, c.want)
		}
	}
}

func TestPortsThatAreNeverExtra(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"none by default", nil, ""},
		{"lists, ranges, and several of them", []string{"--extra-port-range=80,443", "--extra-port-range=8000-8002"}, "80,443,8000-8002"},
		{"SSH, etcd, the API server and the kubelet", []string{"--extra-port-range=21-23,2378-2381,6442-6444,10247-10260"}, "21,23,2378,2381,6442,6444,10247,10251-10254,10258,10260"},
		{"the agent's own", []string{"--extra-port-range=10348-10357"}, "10348,10350-10355,10357"},
		{
			"the agent's own, elsewhere",
			[]string{"--extra-port-range=80,10348-10350,9000-9001,10356", "--metrics-bind-address=[::]:9000", "--healthz-bind-address=:80"},
			"9001,10348-10350,10356",
		},
		{"the agent's own that it does not have", []string{"--extra-port-range=10349", "--metrics-bind-address="}, "10349"},
		{"all of them", []string{"--extra-port-range=1-65535"}, "1-21,23-2378,2381-6442,6444-10247,10251-10254,10258,10260-10348,10350-10355,10357-65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := configured(t, "", c.flags...)
			if err != nil {
				t.Fatal(err)
			}
			if errs := o.validatePorts(); len(errs) != 0 {
				t.Fatal(errs)
			}
			if got := o.extra.Minus(o.protected).String(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

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

// The agent's own sockets, those of health checks for example, are in nobody's way.
func TestTheAgentsOwnSocketsAreNoListeners(t *testing.T) {
	own, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	raw, err := own.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	var statErr error
	if err := errors.Join(raw.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &stat) }), statErr); err != nil {
		t.Fatal(err)
	}
	at := func(port uint16, inode uint32) host.Listener {
		return host.Listener{Protocol: frontend.TCP, Addr: netip.IPv4Unspecified(), Port: port, Inode: inode}
	}
	list := func() ([]host.Listener, error) { return []host.Listener{at(443, uint32(stat.Ino)), at(80, 0)}, nil }
	find := listeners(list)
	for range 2 { // the second time it is known whose they are
		got, err := find(func(frontend.Protocol, uint16) bool { return true })
		if err != nil || len(got) != 1 || got[0].Listener != at(80, 0) || got[0].Process != "" {
			t.Errorf("found %+v, %v, want the one that is not the agent's", got, err)
		}
	}
}
