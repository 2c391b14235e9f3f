package main

import (
	"context"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func TestAddressesArePutIntoTheFormThatFrontendsHave(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.0.10:30080": "10.1.0.10:30080", "[fd01::10]:30080/udp": "[fd01::10]:30080",
		"[::ffff:10.1.0.10]:30080": "10.1.0.10:30080", "[fe80::1%eth0]:30080": "[fe80::1]:30080",
	} {
		if got, _, err := parseAddressPort(text); err != nil || got.String() != want {
			t.Errorf("%s is %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestAnAddressIsExplainedForTheProtocolThatWasAskedFor(t *testing.T) {
	i, kernel, _ := shop(t)
	foreign(t, kernel, nil)
	for text, want := range map[string]int{"10.1.0.10:30999": 1, "10.1.0.10:30999/udp": 1, "10.1.0.10:30999/tcp": 0} {
		at, protocols, err := parseAddressPort(text)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := i.explainAddress(t.Context(), at, protocols); err != nil || len(e.Protocols) != want {
			t.Errorf("%s: %+v, %v", text, e.Protocols, err)
		}
	}
}

// What differs only at the second look is younger than the first: the agent has not had the time.
func TestWhatDiffersAtTheSecondLookOnlyIsNoDifference(t *testing.T) {
	i, kernel, table := shop(t)
	table.Intact = false
	endpoint := netip.MustParseAddrPort("10.244.1.1:8080")
	overview, asked := i.overview, 0
	i.overview = func(ctx context.Context) (*sync.Overview, error) {
		if asked++; asked == 1 {
			defer mustDo(t, kernel, ipvs.Op{Verb: ipvs.DelReal, Key: served, RealKey: endpoint})
		}
		return overview(ctx)
	}
	if d, err := i.diff(t.Context()); err != nil || len(d.Frontends) != 0 || len(d.Nftables) != 1 || asked != 2 {
		t.Errorf("%+v, %v after %d looks", d, err, asked)
	}
}

func TestAnAgentThatIsAsItShouldBeIsLookedAtOnce(t *testing.T) {
	i, _, _ := shop(t)
	overview, asked := i.overview, 0
	i.overview = func(ctx context.Context) (*sync.Overview, error) { asked++; return overview(ctx) }
	if d, err := i.diff(t.Context()); err != nil || !d.Same() || asked != 1 {
		t.Errorf("%+v, %v after %d looks", d, err, asked)
	}
}

func TestTrafficOfEndpointsNamesTheirPods(t *testing.T) {
	i, kernel, _ := shop(t)
	if _, err := i.traffic(t.Context(), sync.ServiceID{}); err == nil {
		t.Error("there is no meter, and something is counted")
	}
	i.meter = countingShop(kernel)
	kernel.Count(served, netip.MustParseAddrPort("10.244.1.1:8080"), ipvs.Counters{Connections: 3})
	for _, c := range []struct {
		of   sync.ServiceID
		want int
	}{{sync.ServiceID{}, 0}, {sync.ServiceID{Namespace: "shop", Name: "web"}, 1}, {sync.ServiceID{Namespace: "shop", Name: "late"}, 0}} {
		doc, err := i.traffic(t.Context(), c.of)
		if err != nil || len(doc.Ports) != 1 || doc.Ports[0].Connections != 3 || len(doc.Ports[0].List) != c.want {
			t.Fatalf("of %s: %+v, %v", c.of, doc, err)
		}
		for _, e := range doc.Ports[0].List {
			want := report.EndpointTraffic{
				Address: "10.244.1.1:8080", Target: "Pod shop/web-1", Node: "node1", Weight: 1, Counted: true, Counters: report.Counters{Connections: 3},
			}
			if e != want {
				t.Errorf("%+v, want %+v", e, want)
			}
		}
	}
}
