package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// checker judges queries by the metrics that there are. What asks for something else alerts nobody, and draws nothing.
type checker struct {
	metrics map[string]metric
	used    map[string]bool // metrics that were asked for
}

func newChecker(t *testing.T) *checker {
	t.Helper()
	return &checker{metrics: metrics(t), used: map[string]bool{}}
}

// parse reads a query with Grafana's own variables in it; those of a dashboard stand inside of strings.
func parse(query string) (parser.Expr, error) {
	return parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(query, "$__rate_interval", "5m"))
}

// check returns what is wrong with a query, and the labels of its result.
func (c *checker) check(query string) (result, wrong []string) {
	expr, err := parse(query)
	if err != nil {
		return nil, []string{err.Error()}
	}
	q := &inquiry{checker: c}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		q.visit(node, path)
		return nil
	})
	return q.labels(expr), q.wrong
}

// inquiry is one query that is being checked.
type inquiry struct {
	*checker
	wrong []string
}

func (q *inquiry) failf(format string, args ...any) {
	q.wrong = append(q.wrong, fmt.Sprintf(format, args...))
}

// series finds the metric that a selector means.
func (q *inquiry) series(s *parser.VectorSelector) (m metric, bucket, found bool) {
	if m, found = q.metrics[s.Name]; found && m.kind != "histogram" {
		return m, false, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, has := strings.CutSuffix(s.Name, suffix); has && q.metrics[name].kind == "histogram" {
			return q.metrics[name], suffix == "_bucket", true
		}
	}
	return metric{}, false, false
}

func (q *inquiry) visit(node parser.Node, path []parser.Node) {
	switch node := node.(type) {
	case *parser.VectorSelector:
		q.selector(node)
		q.kinds(node, path)
	case *parser.AggregateExpr:
		inner := q.labels(node.Expr)
		for _, label := range node.Grouping {
			if !slices.Contains(inner, label) {
				q.failf("%s: there is no label %s to group by", node, label)
			}
		}
	case *parser.Call:
		if node.Func.Name == "histogram_quantile" && !slices.Contains(q.labels(node.Args[1]), "le") {
			q.failf("%s: it has no buckets left", node)
		}
	case *parser.BinaryExpr:
		if node.VectorMatching == nil {
			return
		}
		both := slices.Concat(q.labels(node.LHS), q.labels(node.RHS))
		for _, label := range slices.Concat(node.VectorMatching.MatchingLabels, node.VectorMatching.Include) {
			if !slices.Contains(both, label) {
				q.failf("%s: there is no label %s to match", node, label)
			}
		}
	}
}

// selector requires that a metric exists, with the labels and values that are asked for; and of one that others export
// too, that it is ours.
func (q *inquiry) selector(s *parser.VectorSelector) {
	m, bucket, found := q.series(s)
	if !found {
		q.failf("the agent exports no series %s", s.Name)
		return
	}
	q.used[strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(s.Name, "_bucket"), "_sum"), "_count")] = true
	ours := !shared(s.Name)
	for _, match := range s.LabelMatchers {
		if match.Name == model.MetricNameLabel {
			continue
		}
		if !slices.Contains(m.selectorLabels(bucket), match.Name) {
			q.failf("%s has no label %s", s.Name, match.Name)
		}
		ours = ours || match.Name == "job" && match.Type == labels.MatchEqual && match.Value == "kube-ipvs"
		values := m.labels[match.Name]
		if values == nil || strings.HasPrefix(match.Value, "$") { // anything, or a variable
			continue
		}
		wanted := []string{match.Value}
		if match.Type == labels.MatchRegexp || match.Type == labels.MatchNotRegexp {
			wanted = strings.Split(match.Value, "|")
		}
		for _, value := range wanted {
			if !slices.Contains(values, value) {
				q.failf("%s is never %s=%q", s.Name, match.Name, value)
			}
		}
	}
	if !ours {
		q.failf(`%s is not ours alone: ask for job="kube-ipvs"`, s.Name)
	}
}

// kinds requires that a counter is asked for its growth and a gauge is not.
func (q *inquiry) kinds(s *parser.VectorSelector, path []parser.Node) {
	m, _, found := q.series(s)
	if !found {
		return
	}
	var over string // the function over the range
	for _, node := range path {
		if call, is := node.(*parser.Call); is {
			over = call.Func.Name
		}
	}
	grows := slices.Contains([]string{"rate", "irate", "increase"}, over)
	switch {
	case m.kind == "gauge" && grows:
		q.failf("%s is a gauge: %s is for counters", s.Name, over)
	case m.kind != "gauge" && !grows:
		q.failf("%s is a counter that only grows: ask for its rate or increase", s.Name)
	}
}

// labels are those that the result of an expression may have.
func (q *inquiry) labels(expr parser.Expr) []string {
	switch e := expr.(type) {
	case *parser.VectorSelector:
		m, bucket, _ := q.series(e)
		return m.selectorLabels(bucket)
	case *parser.MatrixSelector:
		return q.labels(e.VectorSelector)
	case *parser.SubqueryExpr:
		return q.labels(e.Expr)
	case *parser.ParenExpr:
		return q.labels(e.Expr)
	case *parser.UnaryExpr:
		return q.labels(e.Expr)
	case *parser.StepInvariantExpr:
		return q.labels(e.Expr)
	case *parser.AggregateExpr:
		switch {
		case e.Op == parser.TOPK || e.Op == parser.BOTTOMK:
			return q.labels(e.Expr)
		case e.Without:
			return without(q.labels(e.Expr), e.Grouping...)
		}
		return e.Grouping
	case *parser.Call:
		return q.labelsOfCall(e)
	case *parser.BinaryExpr:
		if e.Op == parser.LOR {
			return slices.Concat(q.labels(e.LHS), q.labels(e.RHS))
		}
		if left := q.labels(e.LHS); len(left) > 0 {
			return left
		}
		return q.labels(e.RHS)
	}
	return nil
}

func (q *inquiry) labelsOfCall(call *parser.Call) []string {
	if call.Func.Name == "absent" {
		return nil
	}
	for _, arg := range call.Args {
		if found := q.labels(arg); len(found) > 0 {
			if call.Func.Name == "histogram_quantile" {
				return without(found, "le")
			}
			return found
		}
	}
	return nil
}

func without(all []string, some ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(label string) bool { return slices.Contains(some, label) })
}

func TestQueriesThatAskForWhatIsNotThereAreFound(t *testing.T) {
	known := newChecker(t)
	for _, c := range []struct{ query, wrong string }{
		{`sum(`, "parse error"},
		{`kube_ipvs_nothing`, "no series kube_ipvs_nothing"},
		{`kube_ipvs_sync_operations`, "no series kube_ipvs_sync_operations"},
		{`kube_ipvs_problems{why="x"}`, "no label why"},
		{`kube_ipvs_problems{namespace="kube-system"}`, "no label namespace"},
		{`kube_ipvs_problems{reason="bad luck"}`, `never reason="bad luck"`},
		{`kube_ipvs_problems{reason!~"conflict|bad luck"}`, `never reason="bad luck"`},
		{`rate(kube_ipvs_problems[5m])`, "is a gauge"},
		{`kube_ipvs_drift_repaired_total`, "only grows"},
		{`sum by (service) (kube_ipvs_problems)`, "no label service"},
		{`sum by (reason) (sum by (node) (kube_ipvs_problems))`, "no label reason"},
		{`kube_ipvs_problems * on (service) kube_ipvs_virtual_servers`, "no label service to match"},
		{`histogram_quantile(0.9, sum by (node) (rate(kube_ipvs_sync_operations_bucket[5m])))`, "no buckets left"},
		{`histogram_quantile(0.9, rate(kube_ipvs_sync_operations_count[5m]))`, "no buckets left"},
		{`kubeproxy_sync_proxy_rules_service_changes_pending`, `job="kube-ipvs"`},
		{`up == 0`, `job="kube-ipvs"`},
		{`sum by (node) (kube_ipvs_problems{reason=~"conflict|port-in-use"}) > 0`, ""},
		{`topk(3, sum by (namespace, service) (rate(kube_ipvs_service_bytes_total{direction="in",node=~"$node"}[$__rate_interval])))`, ""},
		{`histogram_quantile(0.9, sum by (node, le) (rate(kubeproxy_network_programming_duration_seconds_bucket{job="kube-ipvs"}[$__rate_interval])))`, ""},
	} {
		_, wrong := known.check(c.query)
		if c.wrong == "" && len(wrong) > 0 || !strings.Contains(strings.Join(wrong, "\n"), c.wrong) {
			t.Errorf("%s: %q, want %q", c.query, wrong, c.wrong)
		}
	}
}
