package top

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/report"
)

var start = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// node is a node whose counters grow steadily: services of them, each with the port that its number makes.
func node(services int, at time.Duration) report.Traffic {
	t := report.Traffic{Time: start.Add(at), Node: "node1", Ports: []report.PortTraffic{}}
	for i := range services {
		t.Ports = append(t.Ports, servicePort(i, at))
	}
	return t
}

func servicePort(i int, at time.Duration) report.PortTraffic {
	namespaces := []string{"default", "kube-system", "production-europe"}
	names := []string{"web", "dns", "checkout-api-with-a-long-name", "grafana"}
	p := report.PortTraffic{
		Namespace: namespaces[i%3], Service: fmt.Sprintf("%s-%d", names[i%4], i), Port: "http", NodePort: uint16(30000 + i), Protocol: "TCP",
		Counters: grown(uint64(i*37%1000), at), Active: uint64(i * 11 % 500), Inactive: uint64(i * 7 % 90), Endpoints: 2 + i%3,
	}
	if i%4 == 1 {
		p.Protocol, p.Port = "UDP", "dns"
	}
	if i%5 == 2 {
		p.Draining = 1
	}
	return p
}

// grown are the counters of so many connections a second.
func grown(perSecond uint64, at time.Duration) report.Counters {
	n := perSecond * uint64(at/time.Millisecond) / 1000
	return report.Counters{Connections: 1000 + n, InPackets: 10 * n, OutPackets: 12 * n, InBytes: 900 * n, OutBytes: 14_000 * n}
}

// withEndpoints tells of three endpoints too: one is well, one has weight 0, one departs.
func withEndpoints(t report.Traffic, of string, at time.Duration) report.Traffic {
	for i := range t.Ports {
		if p := &t.Ports[i]; keyOf(p).asked() == of {
			p.Endpoints, p.Draining = 3, 1
			p.List = []report.EndpointTraffic{
				{Address: "10.244.1.2:8080", Target: "Pod " + p.Namespace + "/web-7d9c5b6f4-x2kzq", Node: "node1", Weight: 1, Counted: true, Counters: grown(30, at), Active: 12},
				{Address: "10.244.2.3:8080", Target: "Pod " + p.Namespace + "/web-7d9c5b6f4-8m4tp", Node: "node2", Counted: true, Counters: grown(2, at)},
				{Address: "[fd00:10:244:3::1:4]:8080", Target: "Pod elsewhere/other", Draining: true, Active: 3},
			}
		}
	}
	return t
}

// virtualServers are what the kernel tells without an agent.
func virtualServers(at time.Duration) report.Traffic {
	return report.Traffic{Time: start.Add(at), Node: "node1", FromKernel: true, Ports: []report.PortTraffic{
		{Port: "10.1.0.10:30080", NodePort: 30080, Protocol: "TCP", Counters: grown(12, at), Active: 40, Endpoints: 3, Draining: 1},
		{Port: "10.1.0.9:30053", NodePort: 30053, Protocol: "UDP", Counters: grown(3, at), Inactive: 7, Endpoints: 1},
		{Port: "[fd01::10]:30080", NodePort: 30080, Protocol: "TCP", Counters: grown(0, at)},
	}}
}

// desk is a model with somebody at its keys. Nothing waits: the answer to a question is there at once.
type desk struct {
	*model
	services int
	at       time.Duration
	asked    []string
	fail     error
	kernel   bool
}

func sit(t *testing.T, services, width, height int) *desk {
	t.Helper()
	d := &desk{services: services, at: 100 * time.Second}
	o := Options{Interval: 2 * time.Second, Sort: ByConnections, Location: time.UTC}
	d.model = newModel(t.Context(), d.answer, o, node(services, d.at))
	d.tell(tea.WindowSizeMsg{Width: width, Height: height})
	return d
}

func (d *desk) answer(_ context.Context, of string) (report.Traffic, error) {
	d.asked = append(d.asked, of)
	if d.fail != nil {
		return report.Traffic{}, d.fail
	}
	if d.kernel {
		return virtualServers(d.at), nil
	}
	return withEndpoints(node(d.services, d.at), of, d.at), nil
}

// tell updates the model, and lets the source answer if that led to a question.
func (d *desk) tell(msg tea.Msg) tea.Cmd {
	_, cmd := d.Update(msg)
	for cmd != nil && d.asking {
		_, cmd = d.Update(cmd())
	}
	return cmd
}

// later lets intervals pass.
func (d *desk) later(intervals int) {
	for range intervals {
		d.at += d.o.Interval
		d.tell(tick(d.timer))
	}
}

// press presses keys: words for those that have no character, text for the others.
func (d *desk) press(keys ...string) tea.Cmd {
	special := map[string]rune{
		"up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd,
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "backspace": tea.KeyBackspace,
	}
	var cmd tea.Cmd
	for _, k := range keys {
		code, is := special[k]
		switch {
		case is:
			cmd = d.tell(tea.KeyPressMsg{Code: code})
		case k == "space":
			cmd = d.tell(tea.KeyPressMsg{Code: tea.KeySpace, Text: " "})
		case strings.HasPrefix(k, "ctrl+"):
			cmd = d.tell(tea.KeyPressMsg{Code: rune(k[len(k)-1]), Mod: tea.ModCtrl})
		default:
			for _, r := range k {
				cmd = d.tell(tea.KeyPressMsg{Code: r, Text: string(r)})
			}
		}
	}
	return cmd
}

// see is the screen without its styles.
func (d *desk) see() string {
	lines := strings.Split(ansi.Strip(d.View().Content), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
