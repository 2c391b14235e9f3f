package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// A query can be right in all its words and match nothing, or be refused when it runs: labels of two sides that differ, two
// series where one is wanted.
func TestEveryPanelDrawsSomethingOnceThereIsSomething(t *testing.T) {
	w := everything(t, newChecker(t).metrics)
	d, _ := drawn(t)
	engine := newEngine()
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			query := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			for _, v := range []string{"node", "namespace", "service"} {
				query = strings.ReplaceAll(query, `"$`+v+`"`, `".*"`)
			}
			if found := w.query(t, engine, query, began().Add(time.Hour)); len(found) == 0 {
				t.Errorf("panel %q: nothing comes of %s", p.Title, query)
			}
		}
	}
}

// everything has series of all metrics for an hour, of two nodes and with two values of each label: counters grow, gauges are
// above zero, and the later of two timestamps is the one that the panels expect.
func everything(t *testing.T, known map[string]metric) world {
	t.Helper()
	names := slices.Sorted(maps.Keys(known))
	var all []string
	for i, name := range names {
		m := known[name]
		for _, labels := range combinations(m.labels) {
			for _, node := range []string{"a", "b"} {
				own := append(slices.Clone(labels), fmt.Sprintf(`node=%q,instance=%q,job="kube-ipvs"`, node, node))
				selector := "{" + strings.Join(own, ",") + "}"
				switch m.kind {
				case "gauge":
					all = append(all, fmt.Sprintf("%s%s %dx60", name, selector, len(names)-i))
				case "counter":
					all = append(all, fmt.Sprintf("%s%s 0+%dx60", name, selector, i+1))
				case "histogram":
					for _, le := range []string{"1", "+Inf"} {
						all = append(all, fmt.Sprintf("%s_bucket{%s,le=%q} 0+%dx60", name, strings.Join(own, ","), le, i+1))
					}
				}
			}
		}
	}
	return scraped(t, all...)
}

// combinations are the matchers of each series that labels with these values make; two values stand for any.
func combinations(labels map[string][]string) [][]string {
	all := [][]string{nil}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		values := labels[name]
		if values == nil {
			values = []string{"external", "y"}
		}
		var longer [][]string
		for _, c := range all {
			for _, value := range slices.Compact(slices.Sorted(slices.Values(values))) {
				longer = append(longer, append(slices.Clone(c), fmt.Sprintf("%s=%q", name, value)))
			}
		}
		all = longer
	}
	return all
}
