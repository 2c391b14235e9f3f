package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// rule is an alert as the Prometheus operator has it (monitoring.coreos.com/v1, Rule).
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// alerts are those of kustomize; the chart's are held to be the same by TestKustomizeAndHelmRenderTheSameObjects.
func alerts(t *testing.T) []rule {
	t.Helper()
	object := find(t, kustomize(t, "test/testdata/monitored"), "PrometheusRule")
	if object["apiVersion"] != "monitoring.coreos.com/v1" {
		t.Errorf("it is of %s", object["apiVersion"])
	}
	var spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict([]byte(toJSON(t, object["spec"])), &spec); err != nil {
		t.Fatal(err)
	}
	if len(spec.Groups) != 1 || len(spec.Groups[0].Rules) == 0 {
		t.Fatalf("groups %+v", spec.Groups)
	}
	return spec.Groups[0].Rules
}

const monitoringDoc = "https://github.com/kube-ipvs/kube-ipvs/blob/main/docs/monitoring.md#"

func TestAlertsAskForWhatTheAgentExportsAndSayWhatToDo(t *testing.T) {
	known := newChecker(t)
	for _, r := range alerts(t) {
		t.Run(r.Alert, func(t *testing.T) {
			result, wrong := known.check(r.Expr)
			for _, w := range wrong {
				t.Error(w)
			}
			for _, text := range r.Annotations {
				for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
					if !slices.Contains(result, m[1]) {
						t.Errorf("it has no label %s, but says %q", m[1], text)
					}
				}
			}
			if severity := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, severity) {
				t.Errorf("severity %q", severity)
			}
			if r.Annotations["summary"] == "" || !regexp.MustCompile(`kube-ipvs [a-z]+|kubectl get`).MatchString(r.Annotations["description"]) {
				t.Error("it does not say what to do")
			}
			if r.Annotations["runbook_url"] != monitoringDoc+strings.ToLower(r.Alert) {
				t.Errorf("its runbook is %q", r.Annotations["runbook_url"])
			}
		})
	}
}

// GitHub's anchor of a heading is its text in lower case.
func TestEveryAlertHasAChapterAndEveryChapterAnAlert(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash("../../docs/monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, r := range alerts(t) {
		want = append(want, r.Alert)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (KubeIPVS\w+)$`).FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the chapters are %q, the alerts %q", got, want)
	}
}

func TestTheGuideNamesMetricsThatAreExported(t *testing.T) {
	known := newChecker(t)
	text, err := os.ReadFile(filepath.FromSlash("../../docs/monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`kube(?:_ipvs|proxy)_\w*\w`).FindAllString(string(text), -1)
	for _, name := range names {
		if _, there := known.metrics[name]; !there && !strings.HasSuffix(name, "_") { // kubeproxy_ is all of them
			t.Errorf("the agent exports no %s", name)
		}
	}
	if len(names) < 10 {
		t.Errorf("it names %q only", names)
	}
}

// scene is what is scraped for a while, and what comes of it.
type scene struct {
	name    string
	series  []string
	minutes int
	// pending and fires are the first minutes at which the alert is so; never if it is not.
	pending, fires int
	// labels and says are those of what fires first; says is part of the summary or of the description.
	labels, says string
}

const never = -1

func TestAlertsFireInTimeAndAreQuietWhenAllIsWell(t *testing.T) {
	known := newChecker(t)
	scenes := scenesByAlert()
	for _, r := range alerts(t) {
		here := scenes[r.Alert]
		delete(scenes, r.Alert)
		if !slices.ContainsFunc(here, func(s scene) bool { return s.fires >= 0 }) || !slices.ContainsFunc(here, func(s scene) bool { return s.fires == never }) {
			t.Errorf("%s is not shown to fire, or not to be quiet", r.Alert)
		}
		for _, s := range here {
			t.Run(r.Alert+"/"+s.name, func(t *testing.T) { s.play(t, known, r) })
		}
	}
	for name := range scenes {
		t.Errorf("there is no alert %s", name)
	}
}

func (s scene) play(t *testing.T, known *checker, r rule) {
	t.Helper()
	w := scraped(t, s.series...)
	for _, series := range w { // one that is misspelt would be quiet for no reason
		name := &parser.VectorSelector{Name: series.Labels().Get(model.MetricNameLabel)}
		m, bucket, found := (&inquiry{checker: known}).series(name)
		for label, value := range series.Labels().DropReserved(func(l string) bool { return l == model.MetricNameLabel }).Map() {
			values := m.labels[label]
			found = found && slices.Contains(m.selectorLabels(bucket), label) && (values == nil || slices.Contains(values, value))
		}
		if !found {
			t.Errorf("the agent exports no series %s", series.Labels())
		}
	}
	pending, fired := w.run(t, r, s.minutes)
	first := func(at []int) int {
		if len(at) == 0 {
			return never
		}
		return at[0]
	}
	if got := first(pending); got != s.pending {
		t.Errorf("it is pending at minute %d, want %d", got, s.pending)
	}
	var at []int
	for _, f := range fired {
		at = append(at, f.minute)
	}
	if got := first(at); got != s.fires {
		t.Fatalf("it fires at minute %d, want %d", got, s.fires)
	}
	if len(fired) > 0 && (len(fired) != 1 || fired[0].labels != s.labels || !strings.Contains(fired[0].summary+"\n"+fired[0].description, s.says)) {
		t.Errorf("what fires is\n%+v\nwant only %s, and to be told %q", fired, s.labels, s.says)
	}
}
