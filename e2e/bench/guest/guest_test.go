package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestUsageBetweenTwoReadingsHasEveryCount(t *testing.T) {
	var before, after result.Usage
	b, a := reflect.ValueOf(&before).Elem(), reflect.ValueOf(&after).Elem()
	for i := range b.NumField() {
		for _, f := range []struct {
			v reflect.Value
			n int
		}{{b.Field(i), i + 1}, {a.Field(i), 3 * (i + 1)}} {
			if f.v.CanInt() {
				f.v.SetInt(int64(f.n))
			} else {
				f.v.SetUint(uint64(f.n))
			}
		}
	}
	used := reflect.ValueOf(minus(after, before))
	for i := range used.NumField() {
		if got := used.Field(i); (got.CanInt() && got.Int() != int64(2*(i+1))) || (got.CanUint() && got.Uint() != uint64(2*(i+1))) {
			t.Errorf("%s is %v, want %d", used.Type().Field(i).Name, got, 2*(i+1))
		}
	}
}

func TestTheFirstPassIsOverWhenEveryFamilyHasATime(t *testing.T) {
	const name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
	for _, c := range []struct {
		name, metrics string
		want          float64 // 0: not over
	}{
		{"one for both families", name + " 1.7e+09\n", 1.7e9},
		{"the later of two", name + `{ip_family="IPv4"} 1.7000000025e+09` + "\n" + name + `{ip_family="IPv6"} 1.7e+09` + "\n", 1700000002.5},
		{"one family is missing", name + `{ip_family="IPv4"} 1.7e+09` + "\n" + name + `{ip_family="IPv6"} 0` + "\n", 0},
		{"none has ended", name + " 0\n", 0},
		{"no such metric", "# HELP " + name + " ...\nup 1\n", 0},
	} {
		at, err := lastSync(c.metrics)
		if (err == nil) != (c.want > 0) {
			t.Errorf("%s: %v, %v", c.name, at, err)
		} else if got := float64(at.UnixNano()) / 1e9; err == nil && (got < c.want-1e-3 || got > c.want+1e-3) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBusyIsWhatIsNotIdle(t *testing.T) {
	before, err := parseTimes("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 ...\n")
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseTimes("cpu  110 0 115 860 15 0 0 0 0 0\ncpu0 ...\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := after.busy(before); got < 0.249 || got > 0.251 {
		t.Errorf("busy %v, want 0.25", got)
	}
	for _, bad := range []string{"", "intr 1 2 3 4 5 6", "cpu 1 2 x 4 5 6"} {
		if _, err := parseTimes(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestEveryChangeBringsAnEndpointThatWasNeverThereInTurn(t *testing.T) {
	p := objects.Plan{Sizes: []int{2}, Endpoints: 3, Seed: 1}
	now := newPresent(p)
	seen := map[string]bool{}
	for n := range 7 {
		c, err := now.change(1)
		if err != nil {
			t.Fatal(err)
		}
		if seen[c.fresh.String()] || c.slot != n%3 {
			t.Errorf("change %d: %+v", n, c)
		}
		seen[c.fresh.String()] = true
		patch, err := c.patch()
		if err != nil || !strings.Contains(string(patch), c.fresh.Addr().String()) {
			t.Errorf("patch %s, %v", patch, err)
		}
		wanted := now.want([]int{1})[p.Frontends(1)[0]]
		now.made(c)
		if wanted[c.slot] == c.fresh || now.want([]int{1})[p.Frontends(1)[1]][c.slot] != c.fresh {
			t.Errorf("change %d is not in what is wanted, or was before", n)
		}
	}
	now.next[0] = objects.EndpointsEach
	if _, err := now.change(0); err == nil {
		t.Error("an endpoint of another Service is given out")
	}
}

func TestWhatIsMeasuredOfWhom(t *testing.T) {
	j := job.Default()
	byName := map[string]job.Subject{}
	for _, s := range job.Subjects() {
		byName[s.Name] = s
	}
	for _, c := range []struct {
		subject string
		size    int
		want    plan
	}{
		{"kube-ipvs", 100, plan{changes: 100, counted: 4, burst: true}},
		{"kube-ipvs", 1000, plan{changes: 100, counted: 4}},
		{"kube-ipvs", 2700, plan{changes: 100, counted: 4, burst: true, restart: true, apart: true, steady: true}},
		{"bare-change", 100, plan{skip: true, changes: 100, floor: true}},
		{"bare-change", 1000, plan{skip: true, changes: 100, floor: true}},
		{"bare-change", 2700, plan{changes: 100, floor: true}},
		{"kube-proxy-nftables/0s", 100, plan{changes: 20, both: true}},
		{"kube-proxy-nftables/0s", 1000, plan{changes: 20, both: true}},
		{"kube-proxy-nftables/0s", 2700, plan{changes: 20, both: true}},
		{"kube-proxy-nftables/1s", 100, plan{skip: true}},
		{"kube-proxy-nftables/1s", 1000, plan{skip: true}},
		{"kube-proxy-nftables/1s", 2700, plan{changes: 6, burst: true, restart: true, steady: true}},
		{"kube-proxy-ipvs/1s", 100, plan{changes: 3, both: true, burst: true, steady: true}},
		{"kube-proxy-ipvs/1s", 1000, plan{changes: 1, both: true, rest: 3 * time.Second}},
		{"kube-proxy-ipvs/1s", 2700, plan{rest: 3 * time.Second}},
		{"kube-proxy-ipvs/0s", 100, plan{changes: 1, both: true, rest: 3 * time.Second}},
		{"kube-proxy-ipvs/0s", 1000, plan{skip: true}},
	} {
		if byName[c.subject].Name == "" { // the goals ask for subjects by their names
			t.Errorf("there is no %s", c.subject)
		}
		if got := newPlan(j, byName[c.subject], c.size); got != c.want {
			t.Errorf("%s at %d: %+v, want %+v", c.subject, c.size, got, c.want)
		}
	}
}

func TestNothingIsMeasuredOfWhatIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		name  string
		leave func(*job.Job)
		left  func(plan) bool
		of    func(job.Subject) bool
	}{
		{
			"changes", func(j *job.Job) { j.Changes, j.ProxyChanges = 0, 0 }, func(p plan) bool { return p.changes != 0 },
			func(job.Subject) bool { return true },
		},
		{"changes to add counts to", func(j *job.Job) { j.Changes = 0 }, func(p plan) bool { return p.counted != 0 }, func(job.Subject) bool { return true }},
		{"counted", func(j *job.Job) { j.Counted = 0 }, func(p plan) bool { return p.counted != 0 }, func(job.Subject) bool { return true }},
		{"burst", func(j *job.Job) { j.Burst = 0 }, func(p plan) bool { return p.burst }, func(job.Subject) bool { return true }},
		{"steady", func(j *job.Job) { j.Steady = 0 }, func(p plan) bool { return p.steady }, func(s job.Subject) bool { return s.Name == result.KubeIPVS }},
		{"proxy-steady", func(j *job.Job) { j.ProxySteady = 0 }, func(p plan) bool { return p.steady }, func(s job.Subject) bool { return s.Name != result.KubeIPVS }},
	} {
		j := job.Default()
		c.leave(&j)
		for _, subject := range job.Subjects() {
			for _, size := range j.Plan.Sizes {
				if p := newPlan(j, subject, size); c.of(subject) && c.left(p) {
					t.Errorf("without %s, %s at %d is measured as %+v", c.name, subject.Name, size, p)
				}
			}
		}
	}
}

func TestThePlanSaysHowLongAProgramMayTakeToComeToRest(t *testing.T) {
	for _, c := range []struct{ plan, settle, want time.Duration }{
		{0, 25 * time.Second, 25 * time.Second},
		{10 * time.Second, 25 * time.Second, 10 * time.Second},
		{10 * time.Second, 5 * time.Second, 5 * time.Second},
	} {
		s := &session{runner: &runner{job: job.Job{Settle: c.settle}}, plan: plan{rest: c.plan}}
		if got := s.restPatience(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// kube-proxy in IPVS mode takes minutes for a start where there are many Services.
func TestASlowSubjectIsStartedOnce(t *testing.T) {
	for _, sizes := range [][]int{{50}, {20, 50}, {20, 50, 80}} {
		j := job.Default()
		j.Plan.Sizes = sizes
		for _, subject := range job.Subjects() {
			for _, size := range sizes {
				if p := newPlan(j, subject, size); subject.Slow && p.again() {
					t.Errorf("%s is started again at %d of %v: %+v", subject.Name, size, sizes, p)
				}
			}
		}
	}
}

func TestAProgramIsStartedAgainForWhatNeedsIt(t *testing.T) {
	for _, c := range []struct {
		name string
		plan plan
		want bool
	}{
		{"nothing does", plan{changes: 1, burst: true}, false},
		{"the restart", plan{restart: true}, true},
		{"the restart of one that is counted already", plan{restart: true, both: true}, true},
		{"counted changes", plan{changes: 1, counted: 1}, true},
		{"a minute", plan{steady: true}, true},
		{"a minute of one that is counted already", plan{steady: true, both: true}, false},
		{"one that is counted already", plan{changes: 1, both: true}, false},
	} {
		if got := c.plan.again(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestASeriesThatWasCutOffKeepsWhatCameToItsEnd(t *testing.T) {
	s := &session{subject: job.Subject{Name: "a"}, size: 5}
	sample := func(m result.Measure, atLeast bool, values ...float64) result.Sample {
		return result.Sample{Subject: "a", Measure: m, Size: 5, Unit: result.Seconds, Values: values, AtLeast: atLeast}
	}
	whole := []changed{{arrival: time.Second, patch: 2 * time.Second}, {arrival: 3 * time.Second, patch: 4 * time.Second}}
	cut := changed{arrival: 9 * time.Second, patch: 10 * time.Second, cut: true}
	ended := []result.Sample{sample(result.Arrival, false, 1, 3), sample(result.Patch, false, 2, 4)}
	bound := []result.Sample{sample(result.Arrival, true, 9), sample(result.Patch, true, 10)}
	for _, c := range []struct {
		name string
		all  []changed
		want []result.Sample
	}{
		{"none", nil, nil},
		{"all ended", whole, ended},
		{"one was cut off", append(slices.Clone(whole), cut), append(slices.Clone(ended), bound...)},
		{"the first was cut off", []changed{cut}, bound},
	} {
		if diff := cmp.Diff(c.want, s.changeSamples(c.all)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestOnlyTheCutOffIsNoError(t *testing.T) {
	failure := errors.New("netlink")
	open, end := context.WithCancelCause(t.Context())
	defer end(nil)
	late, stop := context.WithTimeoutCause(t.Context(), 0, errCutoff)
	defer stop()
	<-late.Done()
	dead, kill := context.WithCancelCause(t.Context())
	kill(errEnded)
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		cut  bool
		want error
	}{
		{"done", open, nil, false, nil},
		{"done at the last moment", late, nil, false, nil},
		{"cut off", late, failure, true, nil},
		{"failed", open, failure, false, failure},
		{"the program ended", dead, failure, false, errEnded},
	} {
		cut, err := cutOff(c.ctx, c.err)
		if cut != c.cut || !errors.Is(err, c.want) {
			t.Errorf("%s: cut off %v, error %v", c.name, cut, err)
		}
	}
}
