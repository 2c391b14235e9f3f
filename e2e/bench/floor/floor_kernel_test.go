//go:build kernel && linux

package floor

import (
	"slices"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestEveryWayWritesTheSameTable(t *testing.T) {
	const size, rounds = 20, 2
	var names []string
	emit := func(s result.Sample) {
		t.Logf("%-16s %v s", s.Subject, s.Values)
		names = append(names, s.Subject)
		if len(s.Values) != rounds || s.Size != size || s.Measure != result.Programming || slices.Min(s.Values) <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := Run(t.Context(), objects.Plan{Sizes: []int{size}, Endpoints: 10, Seed: 1}, size, rounds, emit); err != nil {
		t.Fatal(err)
	}
	want := []string{result.BareBatched, result.Ipvsadm, result.KubeIPVS, result.MobySingle}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("samples of %v, not %v", names, want)
	}
}

// BenchmarkWays is what Run measures, in the guest: 1,000 Services with 10 endpoints on two addresses, 22,000 entries.
func BenchmarkWays1000x10x2(b *testing.B) {
	for b.Loop() {
		took := map[string]float64{}
		if err := Run(b.Context(), objects.Plan{Sizes: []int{1000}, Endpoints: 10, Seed: 1}, 1000, 5, func(s result.Sample) {
			b.Logf("%-16s %v s", s.Subject, s.Values)
			took[s.Subject] = slices.Sorted(slices.Values(s.Values))[len(s.Values)/2]
		}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(took[result.KubeIPVS]/took[result.BareBatched], "apply/bare")
		b.ReportMetric(took[result.MobySingle]/took[result.KubeIPVS], "moby/apply")
		b.ReportMetric(took[result.Ipvsadm]/took[result.KubeIPVS], "ipvsadm/apply")
	}
	b.ReportMetric(0, "ns/op")
}
