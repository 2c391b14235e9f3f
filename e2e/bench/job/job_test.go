package job_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
)

func TestAJobIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.json")
	for _, want := range []job.Job{job.Default(), job.Quick()} {
		b, err := json.Marshal(want)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := job.Read(path)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v (%v), want %+v", got, err, want)
		}
		if err := want.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestAllSubjectsServeTheSameAddressesThroughTheGauge(t *testing.T) {
	for _, s := range job.Subjects() {
		if s.Floor {
			if !slices.Contains(s.Args, job.Kubeconfig) {
				t.Errorf("%s: %v does not lead to the gauge", s.Name, s.Args)
			}
			continue // its addresses are the plan's
		}
		for _, flag := range [][2]string{
			{"--kubeconfig", job.Kubeconfig}, {"--hostname-override", "node1"}, {"--nodeport-addresses", "10.1.0.0/24,10.2.0.0/24,fd01::/64,fd02::/64"},
		} {
			if i := slices.Index(s.Args, flag[0]); i < 0 || s.Args[i+1] != flag[1] {
				t.Errorf("%s: %v has no %v", s.Name, s.Args, flag)
			}
		}
	}
}

func TestChosenSubjectsKeepTheirOrder(t *testing.T) {
	j := job.Default()
	if got, want := len(j.Chosen()), len(job.Names()); got != want {
		t.Errorf("%d of %d are chosen: %q", got, want, j.Subjects)
	}
	j.Subjects = []string{"kube-proxy-ipvs/1s", "kube-ipvs"}
	chosen := j.Chosen()
	if len(chosen) != 2 || chosen[0].Name != "kube-ipvs" {
		t.Errorf("chosen are %+v", chosen)
	}
}
