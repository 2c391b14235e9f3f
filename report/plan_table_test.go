package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// texts are both tables of a document.
func texts(t *testing.T, document Tabler) (table, wide string) {
	t.Helper()
	var narrow, all strings.Builder
	if err := Write(&narrow, Table, document); err != nil {
		t.Fatal(err)
	}
	if err := Write(&all, Wide, document); err != nil {
		t.Fatal(err)
	}
	return narrow.String(), all.String()
}

func TestHealthCheckWithoutAnAddressIsListedWithTheReason(t *testing.T) {
	table, _ := texts(t, Plan{HealthChecks: []PlanCheck{{Namespace: "default", Service: "web", Port: 32000, NotAnswered: "no address of this node is chosen"}}})
	if !strings.Contains(table, "default/web") || !strings.Contains(table, "none: no address of this node is chosen") {
		t.Errorf("printed:\n%s", table)
	}
}

func TestValuesAreShortenedBetweenCharacters(t *testing.T) {
	for value, want := range map[string]string{
		"":                            "",
		strings.Repeat("a", 60):       strings.Repeat("a", 60),
		strings.Repeat("a", 61):       strings.Repeat("a", 60) + "...",
		strings.Repeat("ä", 60):       strings.Repeat("ä", 60),
		strings.Repeat("ä", 61):       strings.Repeat("ä", 60) + "...",
		`say "hi"` + "\x00":           `say "hi"\x00`,
		strings.Repeat("\x1b", 1_000): strings.Repeat(`\x1b`, 15) + "...",
	} {
		if got := shortened(value); got != want {
			t.Errorf("%q is shown as %q, want %q", value, got, want)
		}
	}
}

func TestInForceSaysWhatAndWhyNot(t *testing.T) {
	for want, s := range map[string]PlanSetting{
		"mh":                       {InForce: "mh"},
		"not in force: bad":        {Reason: "bad"},
		"10.0.0.0/8; lan is empty": {InForce: "10.0.0.0/8", Reason: "lan is empty"},
	} {
		if got := s.inForce(); got != want {
			t.Errorf("%+v is shown as %q, want %q", s, got, want)
		}
	}
}

func TestWideShortensNothingAndStillQuotes(t *testing.T) {
	value := strings.Repeat("a", 100) + "\x1b[2J"
	_, wide := texts(t, Plan{Settings: []PlanSetting{{Namespace: "default", Service: "web", Name: "kube-ipvs.io/networks", Written: value}}})
	if want := strings.Repeat("a", 100) + `\x1b[2J`; !strings.Contains(wide, want) {
		t.Errorf("%q is not in\n%s", want, wide)
	}
}

func TestLinesOfAFrontend(t *testing.T) {
	for _, c := range []struct {
		name     string
		frontend PlanFrontend
		want     []string
	}{
		{"weights that say nothing", PlanFrontend{Served: true, RealServers: []string{"a", "b"}, Weights: []uint32{1, 1}}, []string{"a", "b"}},
		{"weights that differ", PlanFrontend{Served: true, RealServers: []string{"a", "b"}, Weights: []uint32{1, 3}}, []string{"a weight 1", "b weight 3"}},
		{"another holder", PlanFrontend{Holder: "default/web", Reason: "r"}, []string{"not served: Service default/web holds the port"}},
		{"an obstacle", PlanFrontend{Reason: "nginx listens there"}, []string{"not served: nginx listens there"}},
		{"nobody to serve", PlanFrontend{Served: true, Reason: "no endpoints"}, []string{"none, connections are refused: no endpoints"}},
		{
			"maintenance, internal, and nobody may connect",
			PlanFrontend{Served: true, RealServers: []string{"a"}, Weights: []uint32{1}, Maintenance: []string{"b"}, NoClients: "n", Internal: true, Reason: "r"},
			[]string{"a", "b weight 0 (maintenance)", "nobody may connect: n", "for this node and its pods; connections from elsewhere are dropped: r"},
		},
	} {
		var got []string
		for _, l := range c.frontend.lines() {
			got = append(got, l.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestRealServersOfAPlanThatWasReadFromJSONHaveNoNode(t *testing.T) {
	port := PlanPort{NodePort: 30080, Frontends: []PlanFrontend{{Address: "10.1.0.10", Served: true, RealServers: []string{"10.244.1.2:80"}, Weights: []uint32{1}}}}
	if _, wide := texts(t, Plan{ServicePorts: []PlanPort{port}}); !strings.Contains(wide, "1        -      10.244.1.2:80") {
		t.Errorf("printed:\n%s", wide)
	}
}
