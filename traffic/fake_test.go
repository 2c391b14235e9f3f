package traffic

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// What the model of the kernel counts must be all there in the end, however often reading it failed and whatever its lists were
// without.
func TestNothingIsLostOrCountedTwiceWhenReadingFailsAndMisses(t *testing.T) {
	table, served := ipvs.Table{}, map[frontend.Key]sync.Served{}
	for i := range uint16(5) {
		key := virtualServer(1, 30080+i)
		table[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{
			endpoint(1): {Weight: 1}, endpoint(2): {Weight: 1},
		}}
		served[key] = sync.Served{PortRef: web(string(rune('a'+i)), key.Port)}
	}
	kernel := ipvsfake.New(ipvsfake.WithTable(table))
	faulty := ipvsfake.Faulty(kernel, ipvsfake.Faults{Rate: 0.1, Lossy: 0.3, Seed: 1})
	m := NewMeter(faulty.Reader(kernel.Stats()), func() map[frontend.Key]sync.Served { return served }, Options{})
	random := rand.New(rand.NewPCG(1, 1))
	total, failed := map[frontend.Key]uint64{}, 0
	var before Sample
	for range 300 {
		key := virtualServer(1, 30080+uint16(random.IntN(5)))
		n := uint64(random.IntN(10))
		kernel.Count(key, endpoint(1), connections(n))
		total[key] += n
		s, err := m.Sample(t.Context(), 0)
		if err != nil {
			failed++
		}
		for ref, p := range before.Ports {
			if restarted(s.Ports[ref].Counters, p.Counters) {
				t.Fatalf("%v fell from %+v to %+v", ref, p.Counters, s.Ports[ref].Counters)
			}
		}
		before = s
	}
	if reads := m.Reads(); failed < 30 || reads.Errors != uint64(failed) {
		t.Errorf("%d of 300 rounds failed, %+v", failed, reads)
	}
	faulty.Heal()
	s := sampleNow(t, m)
	for key, n := range total {
		p := s.Ports[served[key].PortRef]
		wantCounted(t, "port", p.Counters, n)
		wantCounted(t, "endpoint", p.Endpoints[endpoint(1)].Counters, n)
		wantCounted(t, "idle endpoint", p.Endpoints[endpoint(2)].Counters, 0)
	}
}
