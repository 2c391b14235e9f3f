package top

import (
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// port is one with the rates of connections and bytes, and its active connections.
func port(service string, connections, bytes float64, active uint64) Port {
	return Port{
		PortTraffic: report.PortTraffic{Namespace: "ns", Service: service, Port: "p", Protocol: "TCP", Active: active},
		Rates:       &Rates{Connections: connections, InBytes: bytes / 4, OutBytes: bytes * 3 / 4},
	}
}

func TestBusiestStandFirstAndEqualsByName(t *testing.T) {
	unknownYet := port("e", 0, 0, 2)
	unknownYet.Rates = nil
	ports := []Port{port("d", 1, 10, 1), unknownYet, port("c", 1, 30, 3), port("b", 5, 20, 1), port("a", 0, 0, 0)}
	for by, want := range map[Sort]string{ByConnections: "bcdea", ByActive: "cebda", ByBytes: "cbdea", ByName: "abcde"} {
		got := ""
		for _, p := range arranged(ports, by, "") {
			got += p.Service
		}
		if got != want {
			t.Errorf("by %s: %s, want %s", by, got, want)
		}
	}
}

func TestEndpointsAreSortedLikePortsAndOtherwiseByAddress(t *testing.T) {
	endpoint := func(address string, connections float64) Endpoint {
		return Endpoint{EndpointTraffic: report.EndpointTraffic{Address: address}, Rates: &Rates{Connections: connections}}
	}
	p := port("web", 0, 0, 0)
	p.List = []Endpoint{endpoint("10.0.0.10:80", 1), endpoint("10.0.0.9:80", 1), endpoint("10.0.0.11:80", 2)}
	for by, want := range map[Sort]string{ByConnections: "10.0.0.11:80 10.0.0.9:80 10.0.0.10:80", ByName: "10.0.0.9:80 10.0.0.10:80 10.0.0.11:80"} {
		var got []string
		for _, e := range arranged([]Port{p}, by, "")[0].List {
			got = append(got, e.Address)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %s: %v, want %s", by, got, want)
		}
	}
	if p.List[0].Address != "10.0.0.10:80" {
		t.Error("what was sorted was not a copy")
	}
}

func TestVirtualServersAreOrderedByAddressNotByText(t *testing.T) {
	d := Compare(nil, virtualServers(0))
	var got []string
	for _, p := range arranged(d.Ports, ByName, "") {
		got = append(got, name(&p))
	}
	if want := []string{"10.1.0.9:30053/udp", "10.1.0.10:30080/tcp", "[fd01::10]:30080/tcp"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestFilterLooksAtWhatIsSeenOfAPort(t *testing.T) {
	dns := Port{PortTraffic: report.PortTraffic{Namespace: "kube-system", Service: "coredns", Port: "dns", NodePort: 30053, Protocol: "UDP"}}
	for text, want := range map[string]bool{
		"": true, "core": true, "CORE": true, "system/core": true, "dns:dns": true, "30053": true, "udp": true, "30053/udp": true,
		"tcp": false, "system core": false, "30054": false,
	} {
		if got := dns.matches(text); got != want {
			t.Errorf("%q matches: %v", text, got)
		}
	}
}

func TestOrdersAreReadByTheirNames(t *testing.T) {
	for _, s := range Sorts() {
		if got, err := ParseSort(string(s)); got != s || err != nil {
			t.Errorf("%s is read as %s, %v", s, got, err)
		}
	}
	if _, err := ParseSort("cpu"); err == nil || !strings.Contains(err.Error(), `"cpu": write connections, active, bytes or name`) {
		t.Errorf("an unknown one: %v", err)
	}
}
