package allocator

import (
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// An agent runs for months and Services come and go.
func TestNothingIsKeptOfOwnersThatAreGone(t *testing.T) {
	l := New()
	owners := []Owner{{ID: ID{Name: "a"}}, {ID: ID{Name: "b"}}}
	for _, protocol := range frontend.Protocols() {
		key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), protocol, 30080)
		for _, owner := range owners {
			l.Set(owner, []Claim{{Key: key}, {Key: key, Kind: HealthCheck}})
		}
	}
	for _, owner := range owners {
		l.Set(owner, nil)
		l.Set(owner, []Claim{})
	}
	if len(l.claimants)+len(l.accounts)+len(l.ports) != 0 {
		t.Errorf("kept: %v, %v, %v", l.claimants, l.accounts, l.ports)
	}
}
