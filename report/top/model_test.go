package top

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// selectedName is the name on the line of the cursor.
func (d *desk) selectedName() string {
	if len(d.lines) == 0 {
		return ""
	}
	l := d.lines[d.cursor]
	if l.endpoint != nil {
		return l.endpoint.Address
	}
	return l.port.Service
}

func TestKeysSortAtOnce(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	for key, want := range map[string]string{"c": "grafana-27", "a": "dns-29", "b": "grafana-27", "n": "checkout-api-with-a-long-name-18"} {
		if d.press(key); d.shown.Ports[0].Service != want {
			t.Errorf("%s puts %s first, want %s", key, d.shown.Ports[0].Service, want)
		}
	}
	if len(d.asked) != 1 {
		t.Errorf("the source was asked %d times", len(d.asked))
	}
}

func TestCursorStaysWithItsServiceWhenTheOrderChanges(t *testing.T) {
	d := sit(t, 2700, 80, 24)
	d.later(1)
	d.press("down", "down", "down")
	want := d.selectedName()
	for _, key := range []string{"n", "a", "c", "b"} {
		d.press(key)
		if got := d.selectedName(); got != want {
			t.Errorf("after %s the cursor is on %s, want %s", key, got, want)
		}
		if !strings.Contains(d.see(), "> ") {
			t.Errorf("after %s the cursor is not on the screen:\n%s", key, d.see())
		}
	}
}

func TestCursorThatWasNeverMovedStaysAtTheTop(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	for _, keys := range [][]string{{"n"}, {"a"}, {"down", "n", "home", "c"}} {
		if d.press(keys...); d.cursor != 0 || d.top != 0 {
			t.Errorf("after %v the cursor is on line %d", keys, d.cursor)
		}
	}
}

func TestCursorStaysInPlaceWhenItsServiceGoes(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	d.press("n", "end")
	d.services = 10
	d.later(1)
	if d.cursor != 9 || d.selectedName() == "" {
		t.Errorf("the cursor is on line %d of %d", d.cursor, len(d.lines))
	}
	d.services = 0
	d.later(1)
	d.press("down", "enter", "up")
	if d.cursor != 0 || !strings.Contains(d.see(), "no Service is served on this node") {
		t.Errorf("without Services the cursor is on line %d of\n%s", d.cursor, d.see())
	}
}

func TestScreenFollowsTheCursorByLinesAndPages(t *testing.T) {
	d := sit(t, 100, 80, 15) // ten lines for Services
	d.later(1)
	for _, c := range []struct {
		key         string
		cursor, top int
	}{
		{"j", 1, 0}, {"pgdown", 11, 2}, {"pgdown", 21, 12}, {"k", 20, 12}, {"pgup", 10, 10}, {"G", 99, 90}, {"down", 99, 90}, {"g", 0, 0}, {"up", 0, 0},
	} {
		if d.press(c.key); d.cursor != c.cursor || d.top != c.top {
			t.Errorf("after %s the cursor is on %d and the screen begins at %d, want %d and %d", c.key, d.cursor, d.top, c.cursor, c.top)
		}
	}
	d.press("G")
	d.tell(tea.WindowSizeMsg{Width: 80, Height: 35})
	if d.top != 70 {
		t.Errorf("on a higher screen it begins at %d, want 70: the last page is full", d.top)
	}
	d.tell(tea.WindowSizeMsg{Width: 80, Height: 7})
	if d.top != 98 {
		t.Errorf("on a lower screen it begins at %d, want 98", d.top)
	}
}

func TestEndpointsAreAskedForAtOnceAndOnlyWhileTheyAreShown(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	d.press("enter")
	d.later(1)
	d.press("space")
	d.later(1)
	if want := []string{"", "default/grafana-27", "default/grafana-27", ""}; !slices.Equal(d.asked, want) {
		t.Errorf("asked for the endpoints of %q, want %q", d.asked, want)
	}
	if strings.Contains(d.see(), "10.244.1.2") {
		t.Errorf("endpoints are still shown:\n%s", d.see())
	}
}

func TestOneServiceIsUnfoldedAtATime(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	d.press("enter", "end", "enter")
	if n := strings.Count(d.see(), "10.244.1.2:8080"); n != 1 || d.open != "default/web-0" {
		t.Errorf("endpoints are shown %d times, and %s is unfolded:\n%s", n, d.open, d.see())
	}
}

func TestFoldingFromAnEndpointLeavesTheCursorOnItsService(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	d.press("enter")
	d.press("down", "down")
	if got := d.selectedName(); !strings.HasPrefix(got, "[fd00:") && !strings.HasPrefix(got, "10.244.") {
		t.Fatalf("the cursor is on %s, want an endpoint", got)
	}
	if d.press("enter"); d.selectedName() != "grafana-27" {
		t.Errorf("the cursor is on %s", d.selectedName())
	}
}

// The answer to a question that was on its way has no endpoints of a Service that was unfolded meanwhile.
func TestAnswerToAnOldQuestionIsFollowedByTheNewOne(t *testing.T) {
	d := sit(t, 30, 80, 24)
	_, first := d.Update(tick(d.timer))
	if _, cmd := d.Update(tea.KeyPressMsg{Code: tea.KeyEnter}); cmd != nil {
		t.Fatal("two questions are on their way")
	}
	if !strings.Contains(d.see(), "asking for its endpoints") {
		t.Errorf("it does not say that it asks:\n%s", d.see())
	}
	_, second := d.Update(first())
	d.Update(second())
	if !strings.Contains(d.see(), "10.244.1.2:8080") || len(d.asked) != 2 {
		t.Errorf("after %q:\n%s", d.asked, d.see())
	}
}

func TestOldTimersDoNotCount(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.Init()
	old := d.timer
	d.press("enter")
	if d.tell(tick(old)); len(d.asked) != 1 {
		t.Errorf("asked %d times, want once for the endpoints", len(d.asked))
	}
}

// An extra question for endpoints comes soon after the last one: rates over a tenth of a second would jump.
func TestDocumentsCloseTogetherDoNotMakeRates(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	seconds := d.all.Seconds
	before := *d.shown.Ports[0].Rates
	d.press("enter")
	if got := *d.shown.Ports[0].Rates; got != before || d.all.Seconds != seconds {
		t.Errorf("rates are %+v over %v s, want %+v over %v s", got, d.all.Seconds, before, seconds)
	}
	d.at += 100 * time.Millisecond
	d.tell(tick(d.timer))
	if d.all.Seconds < seconds {
		t.Errorf("rates are over %v s", d.all.Seconds)
	}
	d.at = 0 // the clock was set back
	d.tell(tick(d.timer))
	if d.later(1); d.all.Seconds != 2 {
		t.Errorf("after the clock was set back rates are over %v s", d.all.Seconds)
	}
}

func TestPauseStopsTheViewAndGoingOnAsksAtOnce(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	_, question := d.Update(tick(d.timer)) // one is on its way when the view is paused
	d.Update(tea.KeyPressMsg{Code: 'p', Text: "p"})
	before := d.see()
	d.at += time.Second
	d.Update(question())
	d.later(5)
	if d.see() != before || len(d.asked) != 2 {
		t.Errorf("asked %d times; the paused view changed to\n%s\nfrom\n%s", len(d.asked), d.see(), before)
	}
	if d.press("enter"); !strings.Contains(d.see(), "10.244.1.2") {
		t.Errorf("endpoints cannot be asked for:\n%s", d.see())
	}
	d.press("p")
	if !strings.Contains(d.see(), "03:01:53") {
		t.Errorf("it did not go on:\n%s", d.see())
	}
}

func TestFilterIsLiveAndEscClearsIt(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	shown := func() string { return fmt.Sprintf("%d %q %v", len(d.shown.Ports), d.o.Filter, d.typing) }
	for _, c := range []struct{ key, want string }{
		{"/", `30 "" true`},
		{"d", `23 "d" true`},
		{"N", `8 "dN" true`},
		{"é", `8 "dN" true`},
		{"q", `0 "dNq" true`},
		{"backspace", `8 "dN" true`},
		{"down", `8 "dN" true`},
		{"enter", `8 "dN" false`},
		{"/", `8 "dN" true`},
		{"-", `0 "dN-" true`},
		{"ctrl+u", `30 "" true`},
		{"3001", `10 "3001" true`},
		{"esc", `30 "" false`},
		{"/", `30 "" true`},
		{"web", `8 "web" true`},
		{"enter", `8 "web" false`},
		{"esc", `30 "" false`},
	} {
		if d.press(c.key); shown() != c.want {
			t.Errorf("after %s: %s, want %s", c.key, shown(), c.want)
		}
	}
	d.press("/")
	d.tell(tea.PasteMsg{Content: "grafana\x1b[2J\n"})
	if d.o.Filter != "grafana[2J" {
		t.Errorf("pasted: %q", d.o.Filter)
	}
}

func TestLimitIsThatOfTheOrder(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.o.Limit = 3
	d.later(1)
	if len(d.lines) != 3 || d.shown.LeftOut != 27 || d.shown.Ports[0].Service != "grafana-27" {
		t.Errorf("%d lines, %d left out, first %s", len(d.lines), d.shown.LeftOut, d.shown.Ports[0].Service)
	}
}

func TestErrorsStandOnTheScreenWhileTheLastDataStay(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	d.fail = errors.New("no agent answers")
	d.later(2)
	for _, want := range []string{"error, data of 03:01:42: no agent answers", "> default/grafana-27:http            999"} {
		if !strings.Contains(d.see(), want) {
			t.Errorf("%q is not in\n%s", want, d.see())
		}
	}
	d.fail = nil
	d.later(1)
	if strings.Contains(d.see(), "error") || d.all.Seconds != 6 {
		t.Errorf("rates over %v s, and\n%s", d.all.Seconds, d.see())
	}
}

func TestKeysThatEnd(t *testing.T) {
	for name, keys := range map[string][]string{
		"q": {"q"}, "ctrl+c": {"ctrl+c"}, "ctrl+c in the filter": {"/", "ctrl+c"}, "ctrl+c in the help": {"?", "ctrl+c"},
	} {
		cmd := sit(t, 3, 80, 24).press(keys...)
		if cmd == nil {
			t.Errorf("%s does nothing", name)
		} else if _, quit := cmd().(tea.QuitMsg); !quit {
			t.Errorf("%s does not quit", name)
		}
	}
	if d := sit(t, 3, 80, 24); d.press("/", "q") != nil || d.o.Filter != "q" {
		t.Error("q in the filter is no letter")
	}
	if cmd := sit(t, 3, 80, 24).press("ctrl+z"); cmd == nil {
		t.Error("ctrl+z does nothing")
	} else if _, suspend := cmd().(tea.SuspendMsg); !suspend {
		t.Error("ctrl+z does not suspend")
	}
}

func TestHelpClosesWithAnyKeyAndScrollsWhereItDoesNotFit(t *testing.T) {
	d := sit(t, 3, 40, 10)
	d.press("?")
	for range len(helpText()) - 9 {
		d.press("down")
	}
	if last := helpText()[len(helpText())-1]; !strings.Contains(d.see(), last) {
		t.Errorf("the last line is not reached:\n%s", d.see())
	}
	d.press("up")
	if !d.help {
		t.Error("up closed it")
	}
	d.press("c")
	if d.help || d.o.Sort != ByConnections {
		t.Error("any other key does not just close it")
	}
	for _, l := range helpText() {
		if len(l) > 40 {
			t.Errorf("%q is wider than a narrow screen", l)
		}
	}
}

// Whatever is pressed and happens, the cursor is on a line that is there and on the screen.
func TestCursorIsAlwaysOnTheScreen(t *testing.T) {
	keys := []string{"up", "down", "pgup", "pgdown", "home", "end", "enter", "space", "c", "a", "b", "n", "/", "esc", "backspace", "w", "1", "p", "?", "later", "resize", "services", "kernel", "fail"}
	rapid.Check(t, func(rt *rapid.T) {
		d := sit(t, 20, 80, 12)
		for _, k := range rapid.SliceOfN(rapid.SampledFrom(keys), 1, 60).Draw(rt, "keys") {
			switch k {
			case "later":
				d.later(1)
			case "resize":
				d.tell(tea.WindowSizeMsg{Width: rapid.IntRange(0, 150).Draw(rt, "width"), Height: rapid.IntRange(0, 40).Draw(rt, "height")})
			case "services":
				d.services = rapid.IntRange(0, 60).Draw(rt, "Services")
			case "kernel":
				d.kernel = !d.kernel
			case "fail":
				if d.fail == nil {
					d.fail = errors.New("gone")
				} else {
					d.fail = nil
				}
			default:
				d.press(k)
			}
			if n := len(d.lines); d.cursor < 0 || n > 0 && d.cursor >= n || d.top < 0 || d.cursor < d.top || d.cursor >= d.top+d.page() || d.asking {
				rt.Fatalf("after %s the cursor is on %d of %d, the screen begins at %d and has %d", k, d.cursor, n, d.top, d.page())
			}
			if got := len(d.screen()); got != max(d.height, 0) && d.width > 0 {
				rt.Fatalf("after %s the screen has %d lines of %d", k, got, d.height)
			}
		}
	})
}

func TestServiceWithoutAListSaysSo(t *testing.T) {
	d := sit(t, 0, 80, 24)
	d.now = report.Traffic{Time: d.now.Time, Node: "node1"}
	d.record(report.Traffic{Time: start.Add(time.Hour), Node: "node1", Ports: []report.PortTraffic{{Namespace: "a", Service: "b", Port: "c", Protocol: "TCP"}}})
	d.open = "a/b"
	d.arrange()
	if !strings.Contains(d.see(), "\n    no endpoints\n") {
		t.Errorf("\n%s", d.see())
	}
}
