package ipvsfake_test

import (
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvstest"
)

// The same suite runs on a real kernel (package ipvs, build tag kernel).
func TestContract(t *testing.T) {
	ipvstest.Contract(t, func(*testing.T) ipvs.Handle { return ipvsfake.New() })
}

func TestStatsContract(t *testing.T) {
	ipvstest.StatsContract(t, func(*testing.T) ipvstest.StatsRig {
		kernel := ipvsfake.New()
		return ipvstest.StatsRig{Handle: kernel, Reader: kernel.Stats(), Traffic: traffic{kernel}}
	})
}

// traffic counts what real traffic makes a kernel count.
type traffic struct{ kernel *ipvsfake.Kernel }

func (f traffic) Pass(t *testing.T, key frontend.Key, real netip.AddrPort, n int) {
	for range n {
		f.kernel.Count(key, real, ipvs.Counters{Connections: 1, InPackets: 5, OutPackets: 3, InBytes: 300, OutBytes: 200})
	}
	f.connect(t, key, real, ipvs.Connections{Inactive: uint32(n)})
}

func (f traffic) Hold(t *testing.T, key frontend.Key, real netip.AddrPort) {
	f.kernel.Count(key, real, ipvs.Counters{Connections: 1, InPackets: 2, OutPackets: 1, InBytes: 120, OutBytes: 60})
	f.connect(t, key, real, ipvs.Connections{Active: 1})
}

func (f traffic) connect(t *testing.T, key frontend.Key, real netip.AddrPort, more ipvs.Connections) {
	t.Helper()
	_, have, err := f.kernel.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	now := have[real]
	f.kernel.SetConnections(key, real, ipvs.Connections{Active: now.Active + more.Active, Inactive: now.Inactive + more.Inactive})
}
