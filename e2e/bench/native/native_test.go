package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// small has more virtual servers than an audit reads at once: they are read in slices.
func small() Spec {
	return Spec{Plan: objects.Plan{Sizes: []int{10, 40}, Endpoints: 3, Seed: 1}, Period: 200 * time.Millisecond, Watch: 200 * time.Millisecond}
}

func TestAProcessAtRestIsWatched(t *testing.T) {
	spec := small()
	s, err := Measure(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if s.Subject != result.KubeIPVS || s.Measure != result.SteadyNative || s.Size != 40 || s.Unit != result.Ratio {
		t.Errorf("the sample is %+v", s)
	}
	if s.Watched < spec.Watch {
		t.Errorf("it was watched for %v, not %v", s.Watched, spec.Watch)
	}
	if len(s.Values) != 1 || s.Usage == nil || s.Usage.CPU <= 0 || s.Values[0] != s.Usage.CPU.Seconds()/s.Watched.Seconds() {
		t.Errorf("values %v, usage %+v within %v", s.Values, s.Usage, s.Watched)
	}
	if want := "over a model of the kernel"; !strings.Contains(s.Note, want) || strings.Contains(s.Note, " 0 reads") {
		t.Errorf("the note is %q", s.Note)
	}
}

func TestWhoDoesNotWaitLeavesNobodyBehind(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	spec := small()
	spec.Watch = time.Hour
	if _, err := Measure(ctx, spec); err == nil || !strings.HasSuffix(err.Error(), ": enough") {
		t.Errorf("it ended with %v", err)
	}
}

func TestWhatFailsInTheProcessIsAnError(t *testing.T) {
	spec := small()
	spec.Plan.Sizes = []int{5000}
	if _, err := Measure(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "node ports") {
		t.Errorf("it ended with %v", err)
	}
}

func TestASampleIsOfARestWithAnAudit(t *testing.T) {
	spec := Spec{Plan: objects.Plan{Sizes: []int{7}}, Period: 30 * time.Second, Watch: time.Minute}
	now := time.Now()
	before := reading{at: now, cpu: time.Second, reads: 100, writes: 10}
	after := reading{at: now.Add(100 * time.Second), cpu: 1500 * time.Millisecond, reads: 150, writes: 10}
	s, err := sample(spec, before, after)
	if err != nil || s.Values[0] != 0.005 || s.Usage.CPU != 500*time.Millisecond || s.Watched != 100*time.Second || !strings.Contains(s.Note, " 50 reads") {
		t.Errorf("%+v, %v", s, err)
	}
	wrote, idle := after, after
	wrote.writes, idle.reads = 11, 100
	for name, r := range map[string]reading{"a write": wrote, "no read": idle} {
		if _, err := sample(spec, before, r); err == nil {
			t.Errorf("%s makes a sample", name)
		}
	}
	spec.Watch = 10 * time.Second
	if _, err := sample(spec, before, idle); err != nil {
		t.Errorf("less than a period may have no audit: %v", err)
	}
}

// What is measured has the agent's settings, as its flags and its care for memory have them.
func TestSettingsAreTheAgents(t *testing.T) {
	for file, wants := range map[string][]string{
		"../../../docs/flags.md": {
			flag("ipvs-sync-period duration", SyncPeriod), flag("ipvs-min-sync-period duration", minSyncPeriod),
			flag("drain-timeout duration", drainTimeout), flag("address-grace duration", addressGrace), flag("ipvs-scheduler name", scheduler),
			flag("masquerade whose", "all"), flag("service-node-port-range range", "30000-32767"),
		},
		"../../../cmd/kube-ipvs/memory.go": {
			fmt.Sprintf(`collectAtStart += %d\n`, collectAtStart), fmt.Sprintf(`collectLater += %d\n`, collectLater),
		},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !regexp.MustCompile(want).Match(text) {
				t.Errorf("%s has no %s", file, want)
			}
		}
	}
}

// flag is the row of a flag in the docs.
func flag(name string, value any) string {
	return regexp.QuoteMeta(fmt.Sprintf("| `--%s` | `%v` |", name, value))
}
