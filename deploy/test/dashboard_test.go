package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// dashboard is what the tests know of Grafana's JSON.
type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any // a string, or an object with one
		}
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ Type, UID string }
	Targets                  []target
	FieldConfig              struct {
		Defaults struct{ Unit string }
	}
	Collapsed bool
	Panels    []panel
}

type target struct{ RefID, Expr, LegendFormat string }

// drawn reads the dashboard that Grafana's sidecar finds, and returns its text too.
func drawn(t *testing.T) (dashboard, string) {
	t.Helper()
	object := find(t, kustomize(t, "test/testdata/monitored"), "ConfigMap", "kube-ipvs-dashboard")
	if object.at("metadata", "labels", "grafana_dashboard") != "1" {
		t.Error("Grafana's sidecar does not find it")
	}
	text := object.at("data", "dashboard.json").(string)
	var d dashboard
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.Title == "" || d.UID == "" || len(d.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(d.Panels), err)
	}
	if len(text) > 200<<10 { // kubectl apply keeps the object in an annotation, which takes 256 KiB
		t.Errorf("it has %d bytes", len(text))
	}
	return d, text
}

func TestTheDashboardDrawsWhatTheAgentExports(t *testing.T) {
	known := newChecker(t)
	d, _ := drawn(t)
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Title == "" || p.Description == "" {
			t.Errorf("panel %q draws nothing, or does not say what it means", p.Title)
		}
		if p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q has a data source of its own", p.Title)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] {
				t.Errorf("panel %q has %s twice", p.Title, target.RefID)
			}
			refs[target.RefID] = true
			result, wrong := known.check(target.Expr)
			for _, w := range wrong {
				t.Errorf("panel %q: %s", p.Title, w)
			}
			for _, m := range regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(result, m[1]) {
					t.Errorf("panel %q: the legend %s has no label %s in %s", p.Title, target.LegendFormat, m[1], target.Expr)
				}
			}
		}
	}
	for name := range known.metrics {
		if strings.HasPrefix(name, "kube") && !known.used[name] {
			t.Errorf("no panel draws %s", name)
		}
	}
}

// Who chooses a node wants to see that node alone, and the same of a Service.
func TestEveryQueryHeedsTheVariables(t *testing.T) {
	known := newChecker(t)
	d, _ := drawn(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expr, err := parse(target.Expr)
			if err != nil {
				t.Fatal(err)
			}
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				s, is := node.(*parser.VectorSelector)
				if !is {
					return nil
				}
				m, _, _ := (&inquiry{checker: known}).series(s)
				want := []string{"node"}
				if _, of := m.labels["service"]; of {
					want = append(want, "namespace", "service")
				}
				for _, label := range want {
					if !slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool { return m.String() == fmt.Sprintf("%s=~%q", label, "$"+label) }) {
						t.Errorf("panel %q: %s does not heed $%s", p.Title, s, label)
					}
				}
				return nil
			})
		}
	}
}

func TestVariablesOfTheDashboardExistAndAskForWhatIsExported(t *testing.T) {
	known := newChecker(t)
	d, text := drawn(t)
	names := []string{"__rate_interval", "__all"} // Grafana's own
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type != "query" {
			continue
		}
		query := fmt.Sprint(v.Query)
		if object, is := v.Query.(map[string]any); is {
			query = fmt.Sprint(object["query"])
		}
		m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(query)
		if m == nil {
			t.Errorf("variable %s asks %s", v.Name, query)
			continue
		}
		result, wrong := known.check(m[1])
		if len(wrong) > 0 || !slices.Contains(result, m[2]) {
			t.Errorf("variable %s asks %s: %q", v.Name, query, wrong)
		}
	}
	if want := []string{"datasource", "node", "namespace", "service"}; !slices.Equal(names[2:], want) {
		t.Errorf("variables %q, want %q", names[2:], want)
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("there is no variable %s", m[0])
		}
	}
}

func TestPanelsLieBesideEachOther(t *testing.T) {
	d, _ := drawn(t)
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	var rows []string
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q has the id of another", p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows = append(rows, p.Title)
		}
		if p.Collapsed || len(p.Panels) > 0 {
			t.Errorf("row %q is closed: the tests do not look into it", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, is := taken[[2]int{x, y}]; is || x >= 24 {
					t.Fatalf("panel %q lies over %q, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if want := []string{"Is it well", "Traffic", "Endpoints", "Speed", "Process"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
}

// A page that loads nothing from elsewhere works in a closed network.
func TestTheDashboardLoadsNothingFromElsewhere(t *testing.T) {
	d, text := drawn(t)
	for _, url := range regexp.MustCompile(`https?://[^"\\ )]*`).FindAllString(text, -1) {
		if !strings.HasPrefix(url, strings.TrimSuffix(monitoringDoc, "#")) { // a link that somebody clicks
			t.Errorf("it knows %s", url)
		}
	}
	builtin := []string{"row", "stat", "timeseries", "table"}
	for _, p := range d.Panels {
		if !slices.Contains(builtin, p.Type) {
			t.Errorf("panel %q needs the plugin %s", p.Title, p.Type)
		}
	}
}
