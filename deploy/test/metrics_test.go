package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/traffic"
)

// metricsTable is a table in Markdown of what the agent exports, with columns metric, type and labels. A test of the agent
// writes it.
const metricsTable = "../../docs/metrics.md"

// metric is what a query has to know of a metric.
type metric struct {
	kind string // counter, gauge, histogram
	// labels are its own, each with the values that it may have; nil if any.
	labels map[string][]string
}

// metrics are those of the agent by name, and those that everything exports which is scraped.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(metricsTable))
	if err != nil {
		t.Fatal(err)
	}
	all := parseMetrics(t, string(text))
	for _, d := range traffic.Descriptions() {
		m := metric{kind: d.Type, labels: map[string][]string{}}
		for _, label := range d.Labels {
			m.labels[label] = valuesOf(d.Name, label)
		}
		all[d.Name] = m
	}
	for name, exported := range gathered(t) {
		m, there := all[name]
		if !there || m.kind != exported.kind {
			t.Errorf("%s has %s as a %q, the agent exports a %s", metricsTable, name, m.kind, exported.kind)
			continue
		}
		maps.Copy(m.labels, exported.labels)
	}
	for name, kind := range map[string]string{
		"up": "gauge", "go_goroutines": "gauge", "process_cpu_seconds_total": "counter",
		"process_resident_memory_bytes": "gauge", "process_start_time_seconds": "gauge",
	} {
		all[name] = metric{kind: kind}
	}
	return all
}

// valuesOf are those that a label of traffic's may have, nil if any: they are no part of its descriptions.
func valuesOf(name, label string) []string {
	switch {
	case label == "direction":
		return []string{"in", "out"}
	case label == "kind" && strings.HasSuffix(name, "_left_out"):
		return []string{"services", "endpoints"}
	case label == "kind":
		return []string{"virtuals", "reals", "use"}
	}
	return nil
}

func parseMetrics(t *testing.T, text string) map[string]metric {
	t.Helper()
	all, column := map[string]metric{}, map[string]int{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			clear(column) // what follows is another table
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), "`", ""), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(column) == 0 {
			for i, cell := range cells {
				column[strings.ToLower(cell)] = i
			}
			continue
		}
		name, kind := cells[column["metric"]], cells[column["type"]]
		if !slices.Contains([]string{"counter", "gauge", "histogram"}, kind) {
			continue
		}
		m := metric{kind: kind, labels: map[string][]string{}}
		for _, label := range strings.FieldsFunc(cells[column["labels"]], func(r rune) bool { return r == ',' || r == ' ' }) {
			m.labels[label] = nil
		}
		all[name] = m
	}
	if len(all) < 20 {
		t.Fatalf("%s has %d metrics: is it the table?", metricsTable, len(all))
	}
	return all
}

// gathered are those metrics that a reconciler exports before it has done anything, with all values of their labels.
func gathered(t *testing.T) map[string]metric {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(sync.New(logr.Discard(), sync.Config{}).Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{}
	for _, family := range families {
		m := metric{kind: strings.ToLower(family.GetType().String()), labels: map[string][]string{}}
		for _, sample := range family.Metric {
			for _, l := range sample.Label {
				m.labels[l.GetName()] = append(m.labels[l.GetName()], l.GetValue())
			}
		}
		all[family.GetName()] = m
	}
	return all
}

// shared reports whether other programs export a metric of this name too.
func shared(name string) bool { return !strings.HasPrefix(name, "kube_ipvs_") }

// ofTarget are the labels that scraping adds. The namespace and the endpoint of the scraped Pod, which it adds too, are left
// out: nobody means those.
func ofTarget() []string { return []string{"node", "job", "instance", "pod"} }

// selectorLabels are all labels that the series of a name have. A histogram's name may have a suffix.
func (m metric) selectorLabels(bucket bool) []string {
	labels := slices.Concat(slices.Sorted(maps.Keys(m.labels)), ofTarget())
	if bucket {
		labels = append(labels, "le")
	}
	return labels
}
