package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/util/annotations"
)

// Alerts are judged as Prometheus does (and promtool test rules), with its own engine: an alert is pending from the first
// evaluation at which its expression holds for a set of labels, fires once that has been so for as long as it says, and
// begins anew when it does not hold once. Prometheus' package rules is not used, because it brings the SDKs of three clouds.

// began is when the series of a test begin: not at the epoch, so that time() is as large as it is in life.
func began() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// world is what has been scraped, a sample each minute.
type world []storage.Series

// scraped reads series as promtool writes them: `metric{label="value"} 0+1x10 _x3 7`.
func scraped(t *testing.T, descriptions ...string) world {
	t.Helper()
	var all world
	for _, d := range descriptions {
		name, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(d)
		if err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		var points []promql.FPoint
		for i, v := range values {
			if !v.Omitted {
				points = append(points, promql.FPoint{T: began().Add(time.Duration(i) * time.Minute).UnixMilli(), F: v.Value})
			}
		}
		all = append(all, promql.NewStorageSeries(promql.Series{Metric: name, Floats: points}))
	}
	return all
}

// Querier is that of storage.Queryable.
func (w world) Querier(_, _ int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &seriesSet{next: -1}
		for _, s := range w {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
				found.series = append(found.series, s)
			}
		}
		return found
	}}, nil
}

// seriesSet is a storage.SeriesSet of what is in memory.
type seriesSet struct {
	series []storage.Series
	next   int
}

func (s *seriesSet) Next() bool                      { s.next++; return s.next < len(s.series) }
func (s *seriesSet) At() storage.Series              { return s.series[s.next] }
func (*seriesSet) Err() error                        { return nil }
func (*seriesSet) Warnings() annotations.Annotations { return nil }

func newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{}),
	})
}

// firing is an alert that fires.
type firing struct {
	minute                                 int
	labels, summary, description, severity string
}

// run evaluates a rule every minute, and returns when it was pending and what fires, each set of labels when it first does.
func (w world) run(t *testing.T, r rule, minutes int) (pending []int, fired []firing) {
	t.Helper()
	hold, err := model.ParseDuration(r.For)
	if err != nil {
		t.Fatalf("%s: for: %v", r.Alert, err)
	}
	engine := newEngine()
	since, told := map[string]int{}, map[string]bool{}
	for minute := range minutes {
		now := began().Add(time.Duration(minute) * time.Minute)
		holds := map[string]promql.Sample{}
		for _, sample := range w.query(t, engine, r.Expr, now) {
			holds[sample.Metric.DropReserved(func(n string) bool { return n == model.MetricNameLabel }).String()] = sample
		}
		maps.DeleteFunc(since, func(key string, _ int) bool { _, still := holds[key]; return !still })
		for _, key := range slices.Sorted(maps.Keys(holds)) {
			if _, there := since[key]; !there {
				since[key] = minute
			}
			switch waited := time.Duration(minute-since[key]) * time.Minute; {
			case waited < time.Duration(hold):
				pending = append(pending, minute)
			case !told[key]:
				told[key] = true
				fired = append(fired, firing{
					minute: minute, labels: key, severity: r.Labels["severity"],
					summary:     w.expand(t, engine, r.Annotations["summary"], holds[key], now),
					description: w.expand(t, engine, r.Annotations["description"], holds[key], now),
				})
			}
		}
	}
	return pending, fired
}

func (w world) query(t *testing.T, engine *promql.Engine, expr string, now time.Time) promql.Vector {
	t.Helper()
	vector, err := w.instant(t.Context(), engine, expr, now)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return vector
}

func (w world) instant(ctx context.Context, engine *promql.Engine, expr string, now time.Time) (promql.Vector, error) {
	query, err := engine.NewInstantQuery(ctx, w, nil, expr, now)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	vector, is := result.Value.(promql.Vector)
	if !is {
		return nil, fmt.Errorf("the result is a %s", result.Value.Type())
	}
	return slices.Clone(vector), nil // it is the engine's after Close
}

// expand writes an annotation out; a label or a function that does not exist is an error here, where Prometheus writes it
// into the alert.
func (w world) expand(t *testing.T, engine *promql.Engine, text string, sample promql.Sample, now time.Time) string {
	t.Helper()
	text = "{{$labels := .Labels}}{{$value := .Value}}" + text
	data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
	query := func(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
		return w.instant(ctx, engine, expr, at)
	}
	out, err := template.NewTemplateExpander(t.Context(), text, "annotation", data, model.TimeFromUnixNano(now.UnixNano()), query, nil,
		[]string{"missingkey=error"}).Expand()
	if err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return out
}
