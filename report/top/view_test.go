package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/report"
)

func TestScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 40}, {40, 10}} {
		for _, services := range []int{0, 1, 2700} {
			d := sit(t, services, size[0], size[1])
			d.later(1)
			compareGolden(t, fmt.Sprintf("%dx%d_%d", size[0], size[1], services), d.see()+"\n")
		}
	}
}

// Each scenario is what is done at the keys, and what is seen then.
func TestScenes(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int
		do            func(*desk)
	}{
		{"before_rates", 80, 10, func(*desk) {}},
		{"unfolded", 80, 16, func(d *desk) { d.later(1); d.press("down", "enter"); d.later(1) }},
		{"unfolded_wide", 160, 16, func(d *desk) { d.later(1); d.press("down", "enter"); d.later(1) }},
		{"unfolded_narrow", 40, 12, func(d *desk) { d.later(1); d.press("enter"); d.later(1) }},
		{"unfolded_not_counted", 80, 12, func(d *desk) { d.later(1); d.press("enter") }},
		{"no_agent", 80, 10, func(d *desk) { d.kernel = true; d.later(2) }},
		{"no_agent_narrow", 40, 10, func(d *desk) { d.kernel = true; d.later(2) }},
		{"by_bytes_narrow", 40, 10, func(d *desk) { d.later(1); d.press("b") }},
		{"paused", 80, 10, func(d *desk) { d.later(1); d.press("p"); d.later(3) }},
		{"typing", 80, 10, func(d *desk) { d.later(1); d.press("/", "dns-1") }},
		{"filtered", 80, 10, func(d *desk) { d.later(1); d.press("/", "dns-1", "enter") }},
		{"nothing_matches", 80, 10, func(d *desk) { d.later(1); d.press("/", "zzz", "enter") }},
		{"error", 80, 10, func(d *desk) {
			d.later(1)
			d.fail = errors.New("ask the agent: 503 Service Unavailable: the pass takes longer than thirty seconds")
			d.later(1)
		}},
		{"help", 80, 24, func(d *desk) { d.press("?") }},
		{"help_scrolled", 40, 10, func(d *desk) { d.press("?", "down", "down") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := sit(t, 30, c.width, c.height)
			c.do(d)
			compareGolden(t, "scene_"+c.name, d.see()+"\n")
		})
	}
}

func TestColoursSayNothingThatWordsDoNot(t *testing.T) {
	d := sit(t, 30, 80, 24)
	d.later(1)
	d.press("down", "enter")
	d.fail = errors.New("gone")
	d.later(1)
	without, content := d.see(), d.View().Content
	d.styles = newStyles(true)
	if d.see() != without {
		t.Errorf("in colour it reads\n%s\nwithout\n%s", d.see(), without)
	}
	const red, yellow, cyan = "31m", "33m", "36m"
	for _, color := range []string{red, yellow, cyan} {
		if strings.Contains(content, color) {
			t.Errorf("without colour there is %s", color)
		}
		if !strings.Contains(d.View().Content, color) {
			t.Errorf("in colour there is no %s", color)
		}
	}
}

// hostile is what no name should be, and what a terminal would obey.
func hostile(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"\x1b[2J", "\x1b]0;title\x07", "\u202Egpj", "日本語", "a\r\nb", "\x9b31m", "e\u0301", "\xff", strings.Repeat("x", 300), "👩‍👩‍👧",
	})).Draw(t, label)
}

func TestNothingHostileReachesTheTerminalAndEveryLineFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := sit(t, rapid.IntRange(0, 5).Draw(rt, "Services"), rapid.IntRange(0, 130).Draw(rt, "width"), rapid.IntRange(0, 30).Draw(rt, "height"))
		d.later(1)
		doc := withEndpoints(node(d.services, d.at), "default/web-0", d.at)
		doc.Node, doc.FromKernel = hostile(rt, "node"), rapid.Bool().Draw(rt, "from kernel")
		for i := range doc.Ports {
			p := &doc.Ports[i]
			p.Namespace, p.Service = hostile(rt, "namespace"), hostile(rt, "service")
			p.Port, p.Protocol = hostile(rt, "port"), hostile(rt, "protocol")
			for j := range p.List {
				e := &p.List[j]
				e.Address, e.Target, e.Node = hostile(rt, "address"), hostile(rt, "target"), hostile(rt, "node of the endpoint")
			}
			if rapid.Bool().Draw(rt, "unfolded") {
				d.open = keyOf(p).asked()
			}
		}
		d.record(doc)
		if rapid.Bool().Draw(rt, "error") {
			d.err = errors.New(hostile(rt, "text of the error"))
		}
		if rapid.Bool().Draw(rt, "typing") {
			d.press("/")
			d.tell(tea.PasteMsg{Content: hostile(rt, "filter")})
		}
		lines := strings.Split(d.View().Content, "\n")
		if len(lines) > max(d.height, 1) {
			rt.Errorf("%d lines on a screen of %d", len(lines), d.height)
		}
		for _, l := range lines {
			if text := ansi.Strip(l); text != plain(text) || len(text) > d.width {
				rt.Errorf("at width %d there is %q", d.width, text)
			}
		}
	})
}

func TestPrintedDocumentIsPlainToo(t *testing.T) {
	doc := withEndpoints(node(1, 0), "default/web-0", 0)
	doc.Node, doc.Ports[0].Service, doc.Ports[0].List[0].Target = "\x1b[2J", "日\x1b本", "Pod \x07/\x1bx"
	var b strings.Builder
	d := Compare(nil, doc)
	if err := d.Table(&b, true); err != nil {
		t.Fatal(err)
	}
	if text := strings.ReplaceAll(b.String(), "\n", ""); text != plain(text) || !strings.Contains(text, "default/???:http") {
		t.Errorf("printed is %q", b.String())
	}
}

var _ report.Tabler = Document{}
