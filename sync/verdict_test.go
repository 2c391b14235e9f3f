package sync

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// What explain says of an endpoint is what the kernel is told of it.
func TestVerdictsAreWhatIsDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, port := drawChoice(t)
		port.NodePort, port.Protocol = 30080, frontend.TCP
		if rapid.Bool().Draw(t, "policy Local") {
			port.Policy = Local
		}
		for i := range port.Endpoints {
			port.Endpoints[i].Maintenance = rapid.IntRange(0, 5).Draw(t, "maintenance") == 0
		}
		for _, v := range verdicts(port) {
			virtual := netip.MustParseAddr("10.1.0.10")
			if v.Addr.Addr().Is6() {
				virtual = netip.MustParseAddr("fd01::10")
			}
			f := desired(Service{}, port, frontend.NewKey(virtual, frontend.TCP, 30080), "rr", filter.MasqueradeAll)
			_, used := f.Entry.Reals[v.Addr]
			_, quiet := f.Quiet[v.Addr]
			want := NotUsed
			switch {
			case used:
				want = GetsConnections
			case quiet:
				want = Finishes
			}
			if v.Use != want || v.Why == "" {
				t.Fatalf("%s is %q because %q, desired is %q", v.Addr, v.Use, v.Why, want)
			}
			if strings.HasPrefix(v.Why, "not chosen (") {
				t.Fatalf("nobody knows why %+v is not used in %+v", v.Endpoint, port)
			}
		}
	})
}

func TestEveryReasonHasAdvice(t *testing.T) {
	said := map[string]Reason{}
	for _, r := range Reasons() {
		advice := r.Advice()
		if len(advice) < 40 || !strings.HasSuffix(advice, ".") {
			t.Errorf("%s: %q is no sentence that tells what to do", r, advice)
		}
		if other, twice := said[advice]; twice {
			t.Errorf("%s and %s have the same advice", r, other)
		}
		said[advice] = r
	}
	if advice := Reason("new").Advice(); advice != "" {
		t.Errorf("of an unknown reason it says %q", advice)
	}
}
