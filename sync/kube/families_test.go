package kube

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// The same objects as in the scenario, whose golden text does not tell families.
func TestFamiliesAreThoseOfTheSpecElseOfTheClusterIPsElseOfTheSlices(t *testing.T) {
	file, err := os.Open("testdata/rules/families.yaml")
	must(t, err)
	t.Cleanup(func() { must(t, file.Close()) })
	update, err := ReadManifests("-", file, testOptions())
	must(t, err)
	got := map[string]sync.Families{}
	for _, s := range update.Services {
		got[s.ID.Name] = s.Families
	}
	want := map[string]sync.Families{
		"a-spec":        sync.IPv6,
		"b-cluster-ips": sync.IPv4 | sync.IPv6,
		"c-cluster-ip":  sync.IPv6,
		"d-slices":      sync.IPv4,
		"e-nothing":     sync.IPv4 | sync.IPv6,
		"f-dual-stack":  sync.IPv4 | sync.IPv6,
		"g-one-unknown": sync.IPv6,
		"h-all-unknown": sync.IPv6,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("families (-want +got):\n%s", diff)
	}
}
