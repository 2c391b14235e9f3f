package top

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/report"
)

func TestRatesAreCountersPerSecondOfTheTimeBetween(t *testing.T) {
	was := report.Counters{Connections: 10, InPackets: 100, OutPackets: 200, InBytes: 3000, OutBytes: 4000}
	for _, c := range []struct {
		name    string
		now     report.Counters
		seconds float64
		want    Rates
	}{
		{"growing", report.Counters{Connections: 30, InPackets: 140, OutPackets: 260, InBytes: 3080, OutBytes: 4100}, 2, Rates{10, 20, 30, 40, 50}},
		{"standing still", was, 2, Rates{}},
		{"over an odd time", report.Counters{Connections: 11, InPackets: 101, OutPackets: 202, InBytes: 3003, OutBytes: 4000}, 3, Rates{0.333, 0.333, 0.667, 1, 0}},
		{"began anew", report.Counters{Connections: 2, InPackets: 4, OutPackets: 6, InBytes: 8, OutBytes: 10}, 2, Rates{1, 2, 3, 4, 5}},
		{"began anew, and one counter is past its old value already", report.Counters{Connections: 2, InPackets: 400, OutPackets: 6, InBytes: 8, OutBytes: 10}, 2, Rates{1, 200, 3, 4, 5}},
		{"beyond 32 bits", report.Counters{Connections: 10, InPackets: 100, OutPackets: 200, InBytes: 3000 + 1<<40, OutBytes: 4000}, 1 << 10, Rates{InBytes: 1 << 30}},
	} {
		port := report.PortTraffic{Namespace: "default", Service: "web", Port: "http", Protocol: "TCP"}
		earlier := report.Traffic{Time: start, Node: "node1", Ports: []report.PortTraffic{port}}
		earlier.Ports[0].Counters = was
		earlier.Ports[0].List = []report.EndpointTraffic{{Address: "10.0.0.1:80", Counted: true, Counters: was}}
		now := report.Traffic{Time: start.Add(time.Duration(c.seconds * float64(time.Second))), Node: "node1", Ports: []report.PortTraffic{port}}
		now.Ports[0].Counters = c.now
		now.Ports[0].List = []report.EndpointTraffic{{Address: "10.0.0.1:80", Counted: true, Counters: c.now}}
		d := Compare(&earlier, now)
		if diff := cmp.Diff(&c.want, d.Ports[0].Rates); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(&c.want, d.Ports[0].List[0].Rates); diff != "" {
			t.Errorf("%s, of the endpoint (-want +got):\n%s", c.name, diff)
		}
		if d.Seconds != c.seconds {
			t.Errorf("%s: over %v s, want %v", c.name, d.Seconds, c.seconds)
		}
	}
}

func TestWhatIsNotComparableHasNoRates(t *testing.T) {
	now := node(1, 10*time.Second)
	otherNode := node(1, 0)
	otherNode.Node = "node2"
	kernel := node(1, 0)
	kernel.FromKernel = true
	same, later, missing := node(1, 10*time.Second), node(1, 12*time.Second), node(0, 0)
	for name, earlier := range map[string]*report.Traffic{
		"none": nil, "another node": &otherNode, "virtual servers": &kernel, "the same time": &same, "a later time": &later, "without the Service": &missing,
	} {
		d := Compare(earlier, now)
		if d.Ports[0].Rates != nil {
			t.Errorf("%s: %+v", name, d.Ports[0].Rates)
		}
		if known := d.Total.Rates != nil; known != (name == "without the Service") {
			t.Errorf("%s: the rates of all are %v", name, d.Total.Rates)
		}
	}
}

func TestEndpointsWhoseCountersWereNotReadTwiceHaveNoRates(t *testing.T) {
	list := func(counted bool, addresses ...string) report.Traffic {
		now := node(1, 0)
		for _, a := range addresses {
			now.Ports[0].List = append(now.Ports[0].List, report.EndpointTraffic{Address: a, Counted: counted})
		}
		return now
	}
	then := func(d report.Traffic) report.Traffic { d.Time = d.Time.Add(time.Second); return d }
	for name, documents := range map[string][2]report.Traffic{
		"not asked for before": {list(true), then(list(true, "10.0.0.1:80"))},
		"not counted before":   {list(false, "10.0.0.1:80"), then(list(true, "10.0.0.1:80"))},
		"not counted now":      {list(true, "10.0.0.1:80"), then(list(false, "10.0.0.1:80"))},
		"another one":          {list(true, "10.0.0.2:80"), then(list(true, "10.0.0.1:80"))},
	} {
		if r := Compare(&documents[0], documents[1]).Ports[0].List[0].Rates; r != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestTotalsAreThoseOfAllPorts(t *testing.T) {
	earlier := node(3, 10*time.Second)
	want := Total{Ports: 3, Active: 0 + 11 + 22, Inactive: 0 + 7 + 14, Rates: &Rates{Connections: 37 + 74, InPackets: 1110, OutPackets: 1332, InBytes: 99_900, OutBytes: 1_554_000}}
	if diff := cmp.Diff(want, Compare(&earlier, node(3, 12*time.Second)).Total); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Beside its node port a Service port may have extra ports, under the same name.
func TestEachPortOnTheNodeHasItsOwnRates(t *testing.T) {
	at := func(nodePort uint16, connections uint64) report.PortTraffic {
		return report.PortTraffic{Namespace: "default", Service: "web", Port: "http", Protocol: "TCP", NodePort: nodePort, Counters: report.Counters{Connections: connections}}
	}
	earlier := report.Traffic{Time: start, Ports: []report.PortTraffic{at(30080, 1000), at(443, 10)}}
	now := report.Traffic{Time: start.Add(time.Second), Ports: []report.PortTraffic{at(30080, 1002), at(443, 13)}}
	d := Compare(&earlier, now)
	if a, b := d.Ports[0].Rates.Connections, d.Ports[1].Rates.Connections; a != 2 || b != 3 {
		t.Errorf("%v and %v connections per second, want 2 and 3", a, b)
	}
}
